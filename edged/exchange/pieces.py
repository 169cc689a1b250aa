"""Pieces: a file in parts of 1 MiB, each with a hash of its own, so that a bad or missing part costs no more than itself.

The index of a file is the SHA-256 of each piece, 32 bytes each, in order, and nothing else: 400 MB take 12 KiB. The
SHA-256 of the index is signed (`targets.py`). A file of one piece has no index: its own hash is that of the piece.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO

PIECE = 1 << 20
DIGEST = 32


def count_pieces(size: int) -> int:
    """Give the number of pieces of a file of `size` bytes: at least one, also for an empty one."""
    return max(1, -(-size // PIECE))


def piece_bounds(size: int, number: int) -> tuple[int, int]:
    """Give where piece `number` (from 0) begins, and its length."""
    start = number * PIECE
    return start, min(PIECE, size - start)


def index_of(file: BinaryIO) -> bytes:
    """Make the index of an open file, read from where it stands to its end; what reading raises is passed on."""
    hashes = []
    while piece := file.read(PIECE):
        hashes.append(hashlib.sha256(piece).digest())
    return b"".join(hashes) or hashlib.sha256(b"").digest()


def index_bytes(size: int) -> int:
    """Give how many bytes the index of a file of `size` bytes has; 0 where it has none."""
    count = count_pieces(size)
    return count * DIGEST if count > 1 else 0


def is_piece(data: bytes | bytearray | memoryview, index: bytes, number: int) -> bool:
    """Say whether `data` is piece `number` of the file with this index."""
    return hashlib.sha256(data).digest() == index[number * DIGEST : (number + 1) * DIGEST]
