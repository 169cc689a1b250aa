"""Walk a flatbuffer without a library, trusting no number in it.

A flatbuffer is little-endian. A table begins with a signed offset back to its vtable; the
vtable lists where each field lies in the table (0: not there). Strings, vectors and sub-tables
are reached by unsigned offsets forward from where the offset stands.
Source: https://flatbuffers.dev/internals/

Every position is checked before it is read, and the total of tables and vector elements read
is bounded: offsets may alias, so that a small file could else claim endless work.
A file that breaks a rule raises PublisherError(`tflite-malformed`), and nothing else.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field

from edged.errors import PublisherError

MAX_WORK = 400_000  # vector elements, and tables at 8 each; the largest models for small boards need a third
_TABLE_WORK = 8
_MAX_TEXT = 512

_U8 = struct.Struct("<B")
_I8 = struct.Struct("<b")
_U16 = struct.Struct("<H")
_I32 = struct.Struct("<i")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def malformed(text: str) -> PublisherError:
    """Make the one error of a file that is not what it should be."""
    return PublisherError("tflite-malformed", f"not a sound .tflite file: {text}", "it may be cut short; export or copy the model again")


@dataclass
class Bytes:
    """The file, and how much work may still be spent on it."""

    data: bytes | mmap.mmap
    left: int = field(default=MAX_WORK)

    def spend(self, work: int) -> None:
        """Count `work` elements; refuse the file when it is too much."""
        self.left -= work
        if self.left < 0:
            raise malformed(f"it describes more than {MAX_WORK} things")

    def number(self, kind: struct.Struct, at: int) -> int:
        """Read one number at `at`."""
        if at < 0 or at + kind.size > len(self.data):
            raise malformed(f"it points to byte {at}, and has {len(self.data)}")
        return kind.unpack_from(self.data, at)[0]

    def follow(self, at: int) -> int:
        """Give where the offset at `at` leads."""
        return at + self.number(_U32, at)

    def span(self, at: int, item: int) -> tuple[int, int]:
        """Give start and length of the vector at `at` whose items have `item` bytes; all of it is in the file."""
        length = self.number(_U32, at)
        if at + 4 + length * item > len(self.data):
            raise malformed(f"{length * item} bytes at byte {at + 4} go beyond its end")
        return at + 4, length


class Table:
    """One table of a flatbuffer; fields by their number in the schema."""

    def __init__(self, source: Bytes, at: int) -> None:
        source.spend(_TABLE_WORK)
        self._source = source
        self._at = at
        self._vtable = at - source.number(_I32, at)
        self._size = source.number(_U16, self._vtable)

    def _field(self, number: int) -> int:
        """Give the position of a field, or 0 where it is left out."""
        slot = 4 + 2 * number
        if slot + 2 > self._size:
            return 0
        offset = self._source.number(_U16, self._vtable + slot)
        return self._at + offset if offset else 0

    def _scalar(self, number: int, kind: struct.Struct, default: int) -> int:
        at = self._field(number)
        return self._source.number(kind, at) if at else default

    def u8(self, number: int) -> int:
        """Read an unsigned byte, 0 where it is left out; also for bool."""
        return self._scalar(number, _U8, 0)

    def i8(self, number: int) -> int:
        """Read a signed byte, 0 where it is left out."""
        return self._scalar(number, _I8, 0)

    def i32(self, number: int) -> int:
        """Read an int, 0 where it is left out."""
        return self._scalar(number, _I32, 0)

    def u32(self, number: int) -> int:
        """Read an unsigned int, 0 where it is left out."""
        return self._scalar(number, _U32, 0)

    def u64(self, number: int) -> int:
        """Read an unsigned long, 0 where it is left out."""
        return self._scalar(number, _U64, 0)

    def text(self, number: int) -> str:
        """Read a string, cut at 512 bytes; bytes that are not UTF-8 are replaced."""
        at = self._field(number)
        if not at:
            return ""
        start, length = self._source.span(self._source.follow(at), 1)
        return bytes(self._source.data[start : start + min(length, _MAX_TEXT)]).decode("utf-8", "replace")

    def ints(self, number: int) -> tuple[int, ...]:
        """Read a vector of int."""
        start, length = self._span(number, 4)
        self._source.spend(length)
        return struct.unpack_from(f"<{length}i", self._source.data, start) if length else ()

    def first_float(self, number: int) -> tuple[float, int]:
        """Read the first of a vector of float, and how many there are; (0, 0) where there are none."""
        start, length = self._span(number, 4)
        return (struct.unpack_from("<f", self._source.data, start)[0], length) if length else (0.0, 0)

    def first_long(self, number: int) -> int:
        """Read the first of a vector of long; 0 where there are none."""
        start, length = self._span(number, 8)
        return struct.unpack_from("<q", self._source.data, start)[0] if length else 0

    def byte_count(self, number: int) -> int:
        """Give the length of a vector of bytes, without reading it."""
        return self._span(number, 1)[1]

    def table(self, number: int) -> Table | None:
        """Give a sub-table, or None where it is left out."""
        at = self._field(number)
        return Table(self._source, self._source.follow(at)) if at else None

    def tables(self, number: int, limit: int = MAX_WORK) -> list[Table]:
        """Give a vector of at most `limit` sub-tables."""
        start, length = self._span(number, 4)
        if length > limit:
            raise malformed(f"a list in it has {length} entries, and {limit} is the limit")
        self._source.spend(length)  # each table then counts for itself
        return [Table(self._source, self._source.follow(start + 4 * i)) for i in range(length)]

    def _span(self, number: int, item: int) -> tuple[int, int]:
        at = self._field(number)
        return self._source.span(self._source.follow(at), item) if at else (0, 0)


def root(source: Bytes, identifier: bytes) -> Table:
    """Give the root table of a file with this 4-byte identifier."""
    if len(source.data) < 8 or source.data[4:8] != identifier:
        raise malformed(f"it does not begin as a {identifier.decode()} file does")
    return Table(source, source.follow(0))
