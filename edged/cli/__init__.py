"""The command line, one command a file (layer 6)."""
