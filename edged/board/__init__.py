"""What kind of board this is (layer 3)."""
