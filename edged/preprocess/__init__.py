"""What happens to a window before the model sees it, in numpy alone (layer 2)."""
