"""The few MQTT packets of a check: CONNECT, SUBSCRIBE, PINGREQ and their answers, as bytes and values.

Written by hand because the answers are what is wanted whole: paho does not show the limits of
a CONNACK before it acts on them. MQTT 5.0 sections 3.1, 3.2, 3.8, 3.9; MQTT 3.1.1 has the same
packets without properties. Answers come from whatever listens at an address: they are bounded
and checked, and what is not MQTT is Malformed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack

CONNACK, SUBACK, PINGRESP, PUBLISH, DISCONNECT = 2, 9, 13, 3, 14
PINGREQ = b"\xc0\x00"
REFUSED = 0x80  # this reason code, and every one above it
MOST_BYTES = 1 << 16  # of an answer; a PUBLISH in between is skipped, whatever its length

Value = int | str | bool

# CONNACK properties: what we call it, and its form; 3.2.2.3
_PROPERTIES = {
    0x11: ("session_expiry_s", 4),
    0x12: ("assigned_client_id", "text"),
    0x13: ("keepalive_s", 2),
    0x15: ("authentication_method", "text"),
    0x16: ("authentication_data", "bytes"),
    0x1A: ("response_information", "text"),
    0x1C: ("server_reference", "text"),
    0x1F: ("reason", "text"),
    0x21: ("receive_maximum", 2),
    0x22: ("topic_alias_maximum", 2),
    0x24: ("maximum_qos", 1),
    0x25: ("retain_available", "yes"),
    0x26: ("user_property", "pair"),
    0x27: ("maximum_packet_size", 4),
    0x28: ("wildcards_available", "yes"),
    0x29: ("subscription_ids_available", "yes"),
    0x2A: ("shared_available", "yes"),
}


class Malformed(ValueError):
    """Not the MQTT that was asked for."""


@dataclass(frozen=True)
class Connack:
    """The answer to CONNECT: 0 or the reason of a refusal, and on MQTT 5 the broker's limits by name."""

    code: int
    properties: dict[str, Value] = field(default_factory=dict)


def connect(version: str, client_id: str, username: str, password: str, keepalive_s: int, session_expiry_s: int) -> bytes:
    """Write CONNECT with a clean start and no Will; `version` is "5" or "3.1.1"."""
    flags = 0x02 | (0x80 if username else 0) | (0x40 if username and password else 0)
    properties = b""
    if version == "5":
        # What comes unasked stays few and small: at most one message at a time, none above 64 KiB.
        stated = pack(">BIBHBI", 0x11, session_expiry_s, 0x21, 1, 0x27, MOST_BYTES)
        properties = _length(len(stated)) + stated
    body = _text("MQTT") + pack(">BBH", 5 if version == "5" else 4, flags, keepalive_s) + properties + _text(client_id)
    body += (_text(username) if flags & 0x80 else b"") + (_text(password) if flags & 0x40 else b"")
    return b"\x10" + _length(len(body)) + body


def subscribe(version: str, filters: Sequence[tuple[str, int]]) -> bytes:
    """Write SUBSCRIBE number 1; MQTT 5 is asked to leave retained messages out."""
    later = 0x20 if version == "5" else 0
    body = pack(">H", 1) + (b"\x00" if version == "5" else b"")
    body += b"".join(_text(topic) + bytes([qos | later]) for topic, qos in filters)
    return b"\x82" + _length(len(body)) + body


def disconnect(version: str) -> bytes:
    """Write DISCONNECT; MQTT 5 is told to forget the session at once."""
    return b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00" if version == "5" else b"\xe0\x00"


def read_connack(body: bytes) -> Connack:
    """Read CONNACK of either version: one without properties may come from a broker that does not speak MQTT 5."""
    if len(body) < 2 or body[0] > 1:
        raise Malformed("a CONNACK without its flags and code")
    return Connack(body[1], _properties(_Reader(body[2:])) if len(body) > 2 else {})


def read_suback(body: bytes, version: str) -> list[int]:
    """Read the granted QoS of each filter, or the reason of a refusal."""
    reader = _Reader(body)
    if reader.number(2) != 1:
        raise Malformed("a SUBACK to another packet")
    if version == "5":
        reader.take(reader.varint())
    return list(reader.rest)


def read_length(head: bytes) -> tuple[int, int] | None:
    """Read a packet's first bytes: where its body begins, and its length; None where bytes lack. Malformed beyond four bytes."""
    length = 0
    for at, byte in enumerate(head[1:5]):
        length |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return at + 2, length
    if len(head) >= 5:
        raise Malformed("a length of more than four bytes")
    return None


def _properties(reader: _Reader) -> dict[str, Value]:
    found: dict[str, Value] = {}
    reader = _Reader(reader.take(reader.varint()))
    while reader.rest:
        kind = reader.number(1)
        if kind not in _PROPERTIES:
            raise Malformed(f"a CONNACK with the property 0x{kind:02x}, which it cannot have")
        name, form = _PROPERTIES[kind]
        if isinstance(form, int):
            found[name] = reader.number(form)
        elif form == "yes":
            found[name] = reader.number(1) == 1
        elif form == "text":
            found[name] = reader.text()
        else:
            for _ in range(2 if form == "pair" else 1):
                reader.take(reader.number(2))
    return found


class _Reader:
    """Takes values off the front of bytes; Malformed where there are too few."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, count: int) -> bytes:
        if count > len(self.rest):
            raise Malformed("a packet shorter than its parts")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        return self.take(self.number(2)).decode("utf-8", "replace")

    def varint(self) -> int:
        found = read_length(b"\x00" + self.rest[:4])
        if found is None:
            raise Malformed("a packet shorter than its parts")
        self.take(found[0] - 1)
        return found[1]


def _text(text: str) -> bytes:
    data = text.encode()
    return pack(">H", len(data)) + data


def _length(length: int) -> bytes:
    out = b""
    while True:
        length, low = divmod(length, 128)
        out += bytes([low | (0x80 if length else 0)])
        if not length:
            return out
