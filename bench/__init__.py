"""Benchmarks of the data path, each beside the plain script of `plain.py`."""
