"""The control path, board side: what is to run here, whether it may, and what became of it (layer 5)."""
