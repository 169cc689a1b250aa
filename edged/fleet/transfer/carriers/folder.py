"""Pieces out of a folder, such as a USB stick with a copy of the repository: `blobs/sha256/{hex}` below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

from edged.exchange.pieces import piece_bounds
from edged.fleet.transfer.carriers.base import Broken, Errand, Piece, not_found

BLOBS = "blobs/sha256"


class FolderCarrier:
    """A folder laid out as a repository is. Regular files are read, and no link leads outside."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def connected(self) -> bool:
        """Say whether the folder is there."""
        return os.path.isdir(self._path / BLOBS)

    def bring(self, errand: Errand) -> Generator[Piece | None, None, None]:
        """See `Carrier`. A file of another size counts as none."""
        try:
            fd = self._open(errand)
        except (FileNotFoundError, NotADirectoryError):
            raise not_found(errand.sha256, self.name) from None
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
            raise self._broken(error) from None
        try:
            while (number := errand.next_piece()) is not None:
                yield self._read(fd, errand, number)
        finally:
            with suppress(OSError):
                os.close(fd)

    def _open(self, errand: Errand) -> int:
        """Open without waiting for the writer of a pipe; FileNotFoundError also for what is not to be read."""
        real = (self._path / BLOBS / errand.sha256).resolve(strict=True)
        if not real.is_relative_to(self._path.resolve()):
            raise FileNotFoundError
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != errand.size:
            os.close(fd)
            raise FileNotFoundError
        return fd

    def _read(self, fd: int, errand: Errand, number: int) -> Piece:
        start, length = piece_bounds(errand.size, number)
        data = bytearray(length)
        view, at = memoryview(data), 0
        while at < length:
            try:
                count = os.preadv(fd, [view[at:]], start + at)
            except OSError as error:
                raise self._broken(error) from None
            if not count:
                raise Broken(f"{self.name} lost the end of blob {errand.sha256[:16]}… while it was read")
            at += count
        errand.came(length, length)
        return number, data

    def _broken(self, error: OSError | RuntimeError) -> Broken:
        reason = error.strerror if isinstance(error, OSError) else error
        return Broken(f"{self.name} cannot be read: {reason}")
