"""Releases on disk: their manifest, their costs, their store (layer 3)."""
