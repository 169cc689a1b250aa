"""Asking for bytes over MQTT, and giving them: `blob/req` and `blob/dat/{sid}`.

A board asks for a range of a blob, named by its SHA-256; whoever has it answers with fragments, at QoS 0. What does not
come is asked for again. A request is JSON, ≤ 1 KiB:

    {"v":1,"sid":SESSION,"sha256":HEX,"off":0,"len":262144,"frag":65536,"server":0}

`sid` is a random number of the board's for one download, and where the answer goes. `server` is the number of the server
that is meant, 0 for all of them: the first to answer is asked from then on, so that several may run, on any broker. A
request to all is for one fragment.

An answer is a header of 24 bytes, big-endian, then the bytes:

    0  2  magic "eb"
    2  1  version, 1
    3  1  kind: 0 data, 1 refusal
    4  4  sid
    8  4  number of the server
    12 8  offset of the bytes in the blob
    20 4  length: how many bytes follow

After the header of a refusal stands its reason, one of REASONS, as text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.models.packed import Sha256

FRAGMENT = 64 << 10
MAX_FRAGMENT = 96 << 10  # some brokers take 128 KiB a message, no more
MIN_CREDIT, MAX_CREDIT = 4, 32  # fragments in flight
MAX_REQUEST_BYTES = 1 << 10

NOT_FOUND, BUSY = "not-found", "busy"
REASONS = frozenset({NOT_FOUND, BUSY})  # `busy`: ask again later

_HEADER = struct.Struct(">2sBBIIQI")
HEADER_BYTES = _HEADER.size
_MAGIC, _VERSION, _DATA, _REFUSAL = b"eb", 1, 0, 1

_U32 = Meta(ge=0, le=2**32 - 1)
_Size = Annotated[int, Meta(ge=0, le=1 << 50)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A range of a blob: `len` bytes from `off` on, in fragments of `frag` bytes."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    sid: Annotated[int, _U32]
    sha256: Sha256
    off: _Size
    len: Annotated[int, Meta(ge=1, le=MAX_CREDIT * MAX_FRAGMENT)]
    frag: Annotated[int, Meta(ge=1 << 10, le=MAX_FRAGMENT)] = FRAGMENT
    server: Annotated[int, _U32] = 0

    def encode(self) -> bytes:
        """Write it."""
        return msgspec.json.encode(self)


def parse_request(data: bytes) -> Request:
    """Read a request; ValueError for anything else, also for one to all servers that asks for more than one fragment."""
    if len(data) > MAX_REQUEST_BYTES:
        raise ValueError(f"it is longer than {MAX_REQUEST_BYTES} bytes")
    request = msgspec.json.decode(data, type=Request)
    if not request.server and request.len > request.frag:
        raise ValueError("it asks all servers for more than one fragment")
    return request


@dataclass(frozen=True, slots=True)
class Fragment:
    """An answer: `data` from `offset` on, or the reason of a refusal."""

    sid: int
    server: int
    offset: int
    data: memoryview
    refusal: str = ""


def encode_data(sid: int, server: int, offset: int, data: bytes | memoryview) -> bytes:
    """Write a fragment."""
    return _HEADER.pack(_MAGIC, _VERSION, _DATA, sid, server, offset, len(data)) + data


def encode_refusal(sid: int, server: int, offset: int, reason: str) -> bytes:
    """Write a refusal of what was asked for from `offset` on."""
    return _HEADER.pack(_MAGIC, _VERSION, _REFUSAL, sid, server, offset, len(reason)) + reason.encode("ascii")


def parse_fragment(data: bytes) -> Fragment:
    """Read an answer; its bytes are a view of `data`. ValueError for anything else."""
    if not HEADER_BYTES <= len(data) <= HEADER_BYTES + MAX_FRAGMENT:
        raise ValueError(f"{len(data)} bytes are no fragment")
    magic, version, kind, sid, server, offset, length = _HEADER.unpack_from(data)
    body = memoryview(data)[HEADER_BYTES:]
    if magic != _MAGIC or version != _VERSION or kind not in (_DATA, _REFUSAL) or length != len(body):
        raise ValueError("its header is none")
    if kind == _DATA:
        return Fragment(sid, server, offset, body)
    reason = bytes(body[:32]).decode("ascii", "replace")
    if reason not in REASONS:
        raise ValueError(f"{reason!r} is no reason")
    return Fragment(sid, server, offset, body[:0], reason)
