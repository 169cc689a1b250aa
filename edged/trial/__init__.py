"""The program of the child process in which a candidate release is tried before it may serve (layer 6)."""
