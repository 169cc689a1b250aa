"""edged: small quantized models over streams of readings and texts, on the board beside the machine."""

__version__ = "0.1.0"
