"""Model runtimes behind one small interface (layer 2)."""
