"""A result as bytes; one module for each format."""
