"""A result as a CloudEvent 1.0, in structured mode (JSON) and in the binary mode of MQTT 5.

https://github.com/cloudevents/spec: `cloudevents/spec.md`, `formats/json-format.md` and
`bindings/mqtt-protocol-binding.md`, all 1.0.2. In binary mode the payload is the plain JSON
result, and each attribute is a user property under its own name, without a prefix.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

import msgspec

from edged.records import Result

TYPE = "dev.edged.result.v1"

# Attribute values may not have control characters, surrogates or noncharacters (spec, "Type System").
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class _Event(msgspec.Struct, omit_defaults=True):
    specversion: str
    id: str
    source: str
    type: str
    time: str
    datacontenttype: str
    data: Result
    subject: str = ""


class CloudEvents:
    """`subject` is the stream's key; left out where there is none."""

    content_type = "application/cloudevents+json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode

    def encode(self, result: Result) -> bytes:
        """Give the structured event as one line."""
        source = _source(result.device, result.pipeline)
        return self._encode(_Event("1.0", result.id, source, TYPE, result.time, "application/json", result, _clean(result.key)))

    def encode_binary(self, result: Result) -> tuple[bytes, dict[str, str]]:
        """Give the data and all attributes; a dict of the caller's own."""
        attributes = {
            "specversion": "1.0",
            "id": result.id,
            "source": _source(result.device, result.pipeline),
            "type": TYPE,
            "time": result.time,
            "datacontenttype": "application/json",
        }
        if result.key:
            attributes["subject"] = _clean(result.key)
        return self._encode(result), attributes


@lru_cache(256)
def _source(device: str, pipeline: str) -> str:
    return f"edged/{quote(device, '')}/{quote(pipeline, '')}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text) if not text.isprintable() else text
