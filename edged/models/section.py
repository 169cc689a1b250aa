"""A part of a regular file, read by position.

A descriptor that another process handed over shares its position with that process; reading by
position keeps both apart. Failures are told as errors of the source, so that none of them is
taken for one of the store.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from edged.errors import PublisherError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Section(io.RawIOBase):
    """`size` bytes of an open file from `start` on; reading ends earlier where the file was cut meanwhile."""

    def __init__(self, fd: int, start: int, size: int, name: str, *, own: bool = False) -> None:
        """`name` is for people; `own`: the descriptor is closed with this."""
        self._fd, self._start, self._size, self._name, self._own = fd, start, size, name, own
        self._at = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; OSError before the beginning, as of a file."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = at
        return at

    def tell(self) -> int:
        """Give the position."""
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what is there next. Raises PublisherError(`file-unreadable`)."""
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        try:
            got = os.preadv(self._fd, [view], self._start + self._at) if view else 0
        except (OSError, OverflowError) as error:
            raise unreadable(self._name, error) from None
        self._at += got
        return got

    def close(self) -> None:
        """Close the descriptor where it is this one's own."""
        if self._own and not self.closed:
            os.close(self._fd)
        super().close()


def open_section(opened: Callable[[], int], name: str) -> BinaryIO:
    """Give all of the regular file whose descriptor `opened` gives; it is closed with it.

    Raises PublisherError(`file-unreadable`), and OSError as `opened` does.
    """
    fd = opened()
    try:
        size = regular_size(fd, name)
    except BaseException:
        os.close(fd)
        raise
    return io.BufferedReader(Section(fd, 0, size, name, own=True))


def regular_size(fd: int, name: str) -> int:
    """Give the size of an open file; PublisherError(`file-unreadable`) for a pipe, a folder, a device: what is no regular file."""
    try:
        status = os.fstat(fd)
    except OSError as error:
        raise unreadable(name, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise PublisherError("file-unreadable", f"{name} is not a regular file", "put the file itself there")
    return status.st_size


def unreadable(name: str, error: Exception) -> PublisherError:
    """Say that a file of a release cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    return PublisherError("file-unreadable", f"{name} cannot be read: {reason}", "check its owner and mode, and the medium it is on")
