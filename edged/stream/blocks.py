r"""Readings of a serial line as a message: a block that says by itself what it holds and when it was taken.

So a recording of such messages can be replayed, and a decoder needs nothing of what came before.
Little-endian:

    4  b"\xffEB1": begins no line of text, 0xff stands in no UTF-8
    u16  bytes of the HELLO, u16  0
    i64  time of the first reading, i64  of the last one: nanoseconds since 1970 UTC
    the body of the firmware's HELLO (see `firmware_bridge/PROTOCOL.md`)
    the samples, as SAMPLES has them
"""

from __future__ import annotations

import struct

MAGIC = b"\xffEB1"
MAX_HELLO = 1014  # the longest body of a frame

_HEAD = struct.Struct("<4sHHqq")

Head = tuple[bytes, int, int, int]  # HELLO's body, where the samples begin, time of the first and of the last reading


def pack_block(hello: bytes, first_ns: int, last_ns: int, samples: bytes) -> bytes:
    """Make a block of a HELLO's body and samples [n, channels]; times in nanoseconds since 1970 UTC."""
    return b"".join((_HEAD.pack(MAGIC, len(hello), 0, first_ns, last_ns), hello, samples))


def read_head(block: bytes) -> Head | None:
    """Read what stands before the samples; None where it is no block."""
    if len(block) < _HEAD.size or not block.startswith(MAGIC):
        return None
    _, length, _, first_ns, last_ns = _HEAD.unpack_from(block)
    begin = _HEAD.size + length
    if length > MAX_HELLO or begin > len(block):
        return None
    return block[_HEAD.size : begin], begin, first_ns, last_ns
