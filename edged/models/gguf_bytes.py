"""Walk the bytes of a GGUF header, trusting no number in it: every position is checked before it is read."""

from __future__ import annotations

import mmap
import struct

from edged.errors import PublisherError

MAX_WORK = 4_000_000  # items of all lists; the largest vocabularies have 800,000 words and pairs of words
_MAX_TEXT = 512

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def malformed(text: str) -> PublisherError:
    """Make the error of a file that breaks a rule of the format."""
    return PublisherError("gguf-malformed", f"not a sound .gguf file: {text}", "it may be cut short; export or copy the model again")


def unsupported(text: str, hint: str) -> PublisherError:
    """Make the error of a file that may be sound, and is of no use here."""
    return PublisherError("gguf-unsupported", text, hint)


class Cursor:
    """A place in the file that only moves forward, and how many items may still be walked."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        self.at = 0
        self._left = MAX_WORK

    def take(self, length: int) -> int:
        """Move over `length` bytes, all in the file, and give where they begin."""
        begin = self.at
        if length > len(self.data) - begin:
            raise malformed(f"{length} bytes at byte {begin} go beyond its end")
        self.at = begin + length
        return begin

    def u32(self) -> int:
        """Read an unsigned number of 4 bytes."""
        return int(_U32.unpack_from(self.data, self.take(4))[0])

    def u64(self) -> int:
        """Read an unsigned number of 8 bytes."""
        return int(_U64.unpack_from(self.data, self.take(8))[0])

    def word(self, most: int) -> str:
        """Read a key or a name of at most `most` bytes; it may stand in a message, so it must be printable."""
        length = self.u64()
        if not 0 < length <= most:
            raise malformed(f"a name at byte {self.at} has {length} bytes")
        word = self._decoded(self.take(length), length)
        if not word.isprintable():
            raise malformed(f"a name is {word!r}")
        return word

    def text(self) -> str:
        """Read a text; what is beyond 512 bytes, such as a chat template, is left out."""
        length = self.u64()
        return self._decoded(self.take(length), min(length, _MAX_TEXT))

    def skip_texts(self, count: int) -> None:
        """Move over `count` texts: a loop over half a million, so without a call for each."""
        self.spend(count)
        data, at, last = self.data, self.at, len(self.data) - 8
        unpack = _U64.unpack_from
        for _ in range(count):
            if at > last:
                raise malformed(f"a list of {count} texts goes beyond its end")
            at += 8 + unpack(data, at)[0]
        self.at = at
        self.take(0)

    def spend(self, work: int) -> None:
        """Count `work` items; refuse the file when they are too many."""
        self._left -= work
        if self._left < 0:
            raise malformed(f"its lists have more than {MAX_WORK} items")

    def _decoded(self, at: int, length: int) -> str:
        return bytes(self.data[at : at + length]).decode("utf-8", "replace")
