"""Write lines to a file descriptor, and know which of them are out and what an error means."""

from __future__ import annotations

import errno
import os
import select
from dataclasses import dataclass

_REASONS = {
    errno.ENOSPC: ("disk-full", "the disk is full"),
    errno.EDQUOT: ("disk-full", "the disk quota is used up"),
    errno.EFBIG: ("file-too-large", "the file has the largest size allowed"),
    errno.EROFS: ("read-only", "the file system is read-only"),
    errno.EACCES: ("no-permission", "permission is denied"),
    errno.EPERM: ("no-permission", "the operation is not permitted"),
    errno.ENOENT: ("no-folder", "its folder does not exist"),
    errno.ENOTDIR: ("no-folder", "its folder is not a folder"),
    errno.EISDIR: ("is-folder", "it is a folder"),
    errno.EIO: ("io-error", "the device fails (I/O error)"),
    errno.EPIPE: ("reader-gone", "nobody reads it any more"),
    errno.ENXIO: ("reader-gone", "nobody reads it"),
    errno.EBADF: ("reader-gone", "it is closed"),
}


@dataclass(frozen=True)
class Written:
    """What went out: `lines` whole ones of `size` bytes together, then `over` bytes of the next one, then `error`."""

    lines: int
    size: int
    over: int
    error: OSError | None


def write_lines(fd: int, lines: list[bytes]) -> Written:
    """Write `lines`, each with its newline, in one `write` where the system takes them so; waits where it blocks."""
    data = memoryview(b"".join(lines))
    done = 0
    try:
        while done < len(data):
            done += _write(fd, data[done:])
    except OSError as error:
        return _cut(lines, done, error)
    return Written(len(lines), done, 0, None)


def reason_of(error: OSError) -> tuple[str, str]:
    """Give the stable reason to count by, and words that continue "… cannot be written: "."""
    return _REASONS.get(error.errno or 0, ("write-failed", error.strerror or str(error)))


def _write(fd: int, data: memoryview) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:  # the other end is slow, and somebody made the descriptor non-blocking
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        poll.poll()
        return 0


def _cut(lines: list[bytes], done: int, error: OSError) -> Written:
    size = 0
    for count, line in enumerate(lines):
        if size + len(line) > done:
            return Written(count, size, done - size, error)
        size += len(line)
    return Written(len(lines), size, 0, error)
