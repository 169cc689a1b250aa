"""What this board really does: measured in seconds, held against what is possible (layer 4)."""
