"""Check a release folder whole, run its goldens, count its costs (layer 4)."""
