"""edged: small quantized models over sensor streams, on the board beside the machine."""

__version__ = "0.1.0"
