"""Which pieces of a part file are there: the file `{sha256}.map`, a log that grows by a record a piece.

A header of 58 bytes, big-endian, says of what it speaks:

    0  5  magic "ebmap"
    5  1  version, 1
    6  8  size of the blob
    14 4  bytes of a piece
    18 32 SHA-256 of the blob's piece index; zeros where it is of one piece
    50 4  number of the log: random, so that records of an earlier one do not count
    54 4  CRC-32 of the 54 bytes before

A record has 8 bytes: a piece's number, or 2^32 - 1 for SYNCED, and the CRC-32 of the log's number, its own place and its number.
SYNCED says that the part file was synced: all pieces before it are on disk. Those after the last SYNCED were written
and may not have come there when the power failed: they are read back and checked before they count. The first record
whose checksum is wrong ends the log: what follows was not written, or was torn.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from edged.exchange.pieces import PIECE, count_pieces

_SYNCED = 2**32 - 1

_HEADER = struct.Struct(">5sBQI32sI")
_CRC = struct.Struct(">I")
_RECORD = struct.Struct(">II")
_PLACE = struct.Struct(">III")
HEADER_BYTES = _HEADER.size + _CRC.size
RECORD_BYTES = _RECORD.size


@dataclass(frozen=True)
class Subject:
    """Of what a log speaks: the blob's size, and its index, by its SHA-256 in hex; empty where it is of one piece."""

    size: int
    index_sha256: str

    def header(self, number: int) -> bytes:
        """Write the header of the log with a random `number` of 32 bits."""
        index = bytes.fromhex(self.index_sha256).ljust(32, b"\0")
        data = _HEADER.pack(b"ebmap", 1, self.size, PIECE, index, number)
        return data + _CRC.pack(zlib.crc32(data))


@dataclass
class Log:
    """What a log says: pieces that are safe, and those that are to be checked, in their order; and how it goes on."""

    number: int
    records: int = 0
    safe: set[int] = field(default_factory=set)
    doubtful: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Give its bytes, header and all."""
        return HEADER_BYTES + self.records * RECORD_BYTES

    def record(self, piece: int) -> bytes:
        """Write the record of a piece, the next one."""
        data = _RECORD.pack(piece, _check(self.number, self.records, piece))
        self.records += 1
        return data

    def synced(self) -> bytes:
        """Write the record that says that all before it is on disk."""
        return self.record(_SYNCED)


def new_log(subject: Subject, number: int, safe: Iterable[int]) -> tuple[bytes, Log]:
    """Write a log that begins with pieces that are on disk."""
    log = Log(number, safe=set(safe))
    records = [log.record(piece) for piece in sorted(log.safe)]
    return b"".join([subject.header(number), *records, log.synced()]), log


def parse_log(data: bytes, subject: Subject) -> Log | None:
    """Read a log; None where it is none, or speaks of something else."""
    if len(data) < HEADER_BYTES:
        return None
    number = _HEADER.unpack_from(data)[-1]
    if data[:HEADER_BYTES] != subject.header(number):
        return None
    log, count = Log(number), count_pieces(subject.size)
    for at in range(HEADER_BYTES, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
        piece, check = _RECORD.unpack_from(data, at)
        if check != _check(number, log.records, piece) or (piece >= count and piece != _SYNCED):
            break
        log.records += 1
        if piece == _SYNCED:
            log.safe.update(log.doubtful)
            log.doubtful.clear()
        else:
            log.doubtful.append(piece)
    return log


def most_bytes(size: int) -> int:
    """Give how long a log of a blob can become that is worth reading."""
    return HEADER_BYTES + RECORD_BYTES * (2 * count_pieces(size) + 2)


def _check(number: int, place: int, piece: int) -> int:
    return zlib.crc32(_PLACE.pack(number, place, piece))
