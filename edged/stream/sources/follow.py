"""Follow one file by its name through rotation, truncation, removal and return.

Polled, not notified: it works alike on network mounts and overlays. What is at the name is
told by device and inode. When another file stands there, the old one is read to its end and
the new one from its start, in this order and not before the new one has bytes: a writer that
is told to reopen goes on writing to the old file for a while. A file that has become shorter
than what was read of it was truncated, and is read from its start.

Not seen: a file that is truncated and grows beyond its old length between two polls.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edged.stream.sources.lines import Line, LineSplitter

BLOCK = 64 << 10
Mark = tuple[int, int, int, int]  # device, inode, size, time of the last change: a file's content


class FollowedFile:
    """One followed name. `fault` says why it cannot be read now; empty when it can.

    `left` is the mark of the file last read to its end and left, under whatever name it is now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""
        self.left: Mark | None = None
        self._splitter = LineSplitter()
        self._fd = -1
        self._position = 0
        self._leaving = False

    def read(self) -> list[Line] | None:
        """Give the lines of the next block; None when there is nothing more for now."""
        if self._fd < 0 and not self._open():
            return None
        data = b""
        try:
            data = os.read(self._fd, BLOCK)
            self.fault = ""
        except OSError as error:
            self.fault = f"{self.path} cannot be read: {error.strerror}"
        if data:
            self._position += len(data)
            return self._splitter.feed(data)
        return self._at_end()

    def identity(self) -> tuple[int, int] | None:
        """Give device and inode of the open file, None where none is open."""
        return _identity(os.fstat(self._fd)) if self._fd >= 0 else None

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _open(self) -> bool:
        try:
            self._fd = open_regular(self.path)
        except OSError as error:
            self.fault = f"{self.path}: {error.strerror}"
            return False
        self._position = 0
        return True

    def _at_end(self) -> list[Line] | None:
        mine, there = os.fstat(self._fd), _stat(self.path)
        stays = there is not None and _identity(there) == _identity(mine)
        turned = there is not None and there.st_size > 0
        if stays or (mine.st_nlink > 0 and not turned):
            self._leaving = False
            return self._restart() if stays and mine.st_size < self._position else None
        if not self._leaving:
            # Lines may have been written between the read and the look at the name: read once more.
            self._leaving = True
            return []
        return self._leave(mine)

    def _restart(self) -> list[Line]:
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._position = 0
        return self._splitter.rest()

    def _leave(self, mine: os.stat_result) -> list[Line]:
        self.left = mark(mine)
        self._leaving = False
        self.close()
        return self._splitter.rest()


def open_regular(path: Path) -> int:
    """Open a regular file for reading; OSError for anything else, without ever waiting (a FIFO's open would)."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(0, "is not a regular file; use source `stdin` for a pipe")


def mark(status: os.stat_result) -> Mark:
    """Give what tells a file that was read from a new one that got its inode."""
    return (*_identity(status), status.st_size, status.st_mtime_ns)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
