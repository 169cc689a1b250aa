"""What a transfer is to come to: a small blob in memory, or a file on disk, checked piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Protocol

from edged.exchange.pieces import DIGEST, PIECE, count_pieces, is_piece, piece_bounds
from edged.fleet.transfer.partial import Partial


class Goal(Protocol):
    """A blob, and which of its pieces are still missing."""

    sha256: str
    size: int

    def missing(self) -> Iterator[int]:
        """Give the numbers of the pieces that are to come, in order."""

    def take(self, number: int, data: bytes | bytearray) -> bool:
        """Take a piece; False, and nothing is taken, where it is not that of the blob. Raises BoardError where the disk fails."""


class InMemory:
    """A blob of one piece; `data` is it, once it is there."""

    def __init__(self, sha256: str, size: int) -> None:
        self.sha256, self.size = sha256, size
        self.data: bytes | None = None if size else b""

    def missing(self) -> Iterator[int]:
        """See `Goal`."""
        if self.data is None:
            yield 0

    def take(self, number: int, data: bytes | bytearray) -> bool:
        """See `Goal`."""
        if hashlib.sha256(data).hexdigest() != self.sha256:
            return False
        self.data = bytes(data)
        return True


class OnDisk:
    """A file, checked against its piece index. Of pieces that are the same one comes, and is copied to where the others are.

    `progress` gets the bytes that are there after each piece; what it raises ends the transfer.
    """

    def __init__(self, sha256: str, size: int, index: bytes, partial: Partial, progress: Callable[[int], None]) -> None:
        self.sha256, self.size = sha256, size
        self._index, self._partial, self._progress = index, partial, progress
        self._done = sum(piece_bounds(size, number)[1] for number in partial.have)
        self._same = _same_pieces(index, size)

    def missing(self) -> Iterator[int]:
        """See `Goal`. What is the same as a piece that is there is copied; of others that are the same the first is named."""
        self._progress(self._done)
        asked: set[bytes] = set()
        for number in range(count_pieces(self.size) if self.size else 0):
            digest = self._digest(number)
            if number in self._partial.have or digest in asked:
                continue
            there = next((each for each in self._same.get(digest, ()) if each in self._partial.have), None)
            if there is not None and self.take(number, self._partial.read(there)):
                continue
            asked.add(digest)
            yield number

    def take(self, number: int, data: bytes | bytearray) -> bool:
        """See `Goal`."""
        if number in self._partial.have:
            return True
        if not is_piece(data, self._index, number):
            return False
        self._partial.write(number, data)
        self._done += len(data)
        self._progress(self._done)
        return True

    def _digest(self, number: int) -> bytes:
        return self._index[number * DIGEST : (number + 1) * DIGEST]


def _same_pieces(index: bytes, size: int) -> dict[bytes, list[int]]:
    """Give the numbers of pieces by their hash, for those of which there are several; the last has another length, and is left out."""
    by_hash: dict[bytes, list[int]] = {}
    for number in range(size // PIECE):
        by_hash.setdefault(index[number * DIGEST : (number + 1) * DIGEST], []).append(number)
    return {digest: numbers for digest, numbers in by_hash.items() if len(numbers) > 1}
