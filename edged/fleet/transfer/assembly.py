"""Pieces that are being put together of fragments: a few at a time, each in memory that is taken once.

A fragment lies at a multiple of FRAGMENT in the blob, and has all bytes up to the next one or to the end.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.exchange.blobs import FRAGMENT
from edged.exchange.pieces import PIECE, piece_bounds

MOST_OPEN = 4  # pieces; one that lacks a fragment stays open while the next ones come


class _Open:
    def __init__(self, start: int, length: int) -> None:
        self.start = start
        self.data = bytearray(length)
        self.missing = set(range(start, start + length, FRAGMENT))


class Assembly:
    """The open pieces of a blob of `size` bytes; `next_piece` gives the number of another that is wanted, or None."""

    def __init__(self, size: int, next_piece: Callable[[], int | None]) -> None:
        self._size = size
        self._next_piece = next_piece
        self._open: dict[int, _Open] = {}
        self._unasked: list[int] = []  # fragments of the piece that was opened last, from the last to the first

    @property
    def is_empty(self) -> bool:
        """Say whether no piece is open."""
        return not self._open

    def next_fragment(self) -> int | None:
        """Give the offset of a fragment that was not given before; None where no piece is wanted, or enough are open."""
        if not self._unasked and len(self._open) < MOST_OPEN:
            number = self._next_piece()
            if number is not None:
                piece = self._open[number] = _Open(*piece_bounds(self._size, number))
                self._unasked = sorted(piece.missing, reverse=True)
        return self._unasked.pop() if self._unasked else None

    def length(self, offset: int) -> int:
        """Give how many bytes the fragment at an offset has."""
        return min(FRAGMENT, self._size - offset)

    def put(self, offset: int, data: memoryview) -> tuple[int, bytearray] | None:
        """Take the fragment of an open piece, once; give number and bytes of the piece where it is whole now."""
        number = offset // PIECE
        piece = self._open[number]
        at = offset - piece.start
        piece.data[at : at + len(data)] = data
        piece.missing.remove(offset)
        if piece.missing:
            return None
        del self._open[number]
        return number, piece.data
