"""Which variant of each model this board runs, and why not the others (layer 4)."""
