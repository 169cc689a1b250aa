"""Bytes of blobs, read where they are asked for; the last files that were read stay open."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

MOST_OPEN = 64


class _Open(NamedTuple):
    fd: int
    size: int


class BlobReader:
    """Reads below a folder of blobs that are called by their SHA-256. For one thread; close it at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, _Open] = OrderedDict()  # used last, last

    def size(self, sha256: str) -> int | None:
        """Give the size of a blob; None where there is none that can be read. `sha256` is 64 hex digits."""
        found = self._find(sha256)
        return None if found is None else found.size

    def read(self, sha256: str, offset: int, length: int) -> bytes | None:
        """Give at most `length` bytes, fewer at the end; None where there is no such blob, or it cannot be read."""
        found = self._find(sha256)
        if found is None:
            return None
        try:
            return os.pread(found.fd, length, offset)
        except OSError:
            self._forget(sha256)
            return None

    def close(self) -> None:
        """Close all files: what was removed meanwhile frees its space."""
        while self._open:
            os.close(self._open.popitem()[1].fd)

    def _find(self, sha256: str) -> _Open | None:
        found = self._open.get(sha256)
        if found is not None:
            self._open.move_to_end(sha256)
            return found
        try:
            fd = os.open(self._folder / sha256, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return None
        if len(self._open) >= MOST_OPEN:
            os.close(self._open.popitem(last=False)[1].fd)
        found = self._open[sha256] = _Open(fd, status.st_size)
        return found

    def _forget(self, sha256: str) -> None:
        os.close(self._open.pop(sha256).fd)
