"""Bytes of a blob from far away into a file: by pieces, from whoever has them, over what stands (layer 5)."""
