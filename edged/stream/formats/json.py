"""A result as one line of JSON (design: "A result"); NaN and infinity become null."""

from __future__ import annotations

import msgspec

from edged.records import Result


class Json:
    """The default format."""

    content_type = "application/json"
    encode_binary = None

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode

    def encode(self, result: Result) -> bytes:
        """Give the line."""
        return self._encode(result)
