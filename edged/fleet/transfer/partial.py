"""A blob that is on its way, on disk: `{sha256}.part`, as long as the whole from the start, and `{sha256}.map`.

A piece is written into the part file, then its record into the map: after a kill at any point, at most the piece
between the two has to come again. Both files are synced together, the part file first: at the first piece that is
written SYNC_NS or later after the last time, after SYNC_BYTES, and at the end. So a power cut takes at most SYNC_BYTES
and one piece, and of these only what did not reach the disk: they are read back and checked, see `mapping.py`.
What was synced is not read again when a download goes on.
"""

from __future__ import annotations

import errno
import os
import random
import stat
from contextlib import suppress
from pathlib import Path

from edged.atomic import sync_folder, write_all, write_atomic
from edged.clock import NS, Clock
from edged.exchange.pieces import is_piece, piece_bounds
from edged.fleet.transfer.disk import writing
from edged.fleet.transfer.mapping import Log, Subject, most_bytes, new_log, parse_log

PART, MAP = ".part", ".map"
SYNC_BYTES = 8 << 20  # as `models/blobs.py`: what may wait in memory for a slow disk
SYNC_NS = 5 * NS
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # file systems that cannot set space aside


class Partial:
    """The pieces of one blob on disk; `have` are those that are there. All raises BoardError(`no-space`, `store-unwritable`)."""

    def __init__(self, folder: Path, sha256: str, subject: Subject, index: bytes, clock: Clock, rng: random.Random) -> None:
        """Go on with what is there, or begin: with space for all of it, or with no-space and nothing. `close` ends it."""
        self.path = folder / f"{sha256}{PART}"
        self._map = folder / f"{sha256}{MAP}"
        self._subject, self._index, self._clock = subject, index, clock
        self._number = rng.getrandbits(32)
        self._unsynced, self._synced_at = 0, clock.mono()
        with writing(self.path):
            self._fd = self._open_part()
            try:
                self._log = self._resume() or self._begin()
                self._map_fd = os.open(self._map, _FLAGS | os.O_APPEND)
            except BaseException:
                _close(self._fd)
                raise
        self.have = self._log.safe.copy()

    def write(self, number: int, data: bytes | bytearray) -> None:
        """Put a piece that was checked into its place; it counts from now on."""
        with writing(self.path):
            os.lseek(self._fd, piece_bounds(self._subject.size, number)[0], os.SEEK_SET)
            write_all(self._fd, memoryview(data))
            write_all(self._map_fd, self._log.record(number))
            self.have.add(number)
            self._unsynced += len(data)
            if self._unsynced >= SYNC_BYTES or self._clock.mono() - self._synced_at >= SYNC_NS:
                self._sync()

    def read(self, number: int) -> bytes:
        """Read a piece back."""
        start, length = piece_bounds(self._subject.size, number)
        with writing(self.path):
            return os.pread(self._fd, length, start)

    def close(self) -> None:
        """Bring all to the disk."""
        try:
            with writing(self.path):
                if self._unsynced:
                    self._sync()
        finally:
            _close(self._map_fd)
            _close(self._fd)

    def _sync(self) -> None:
        os.fsync(self._fd)
        write_all(self._map_fd, self._log.synced())
        os.fsync(self._map_fd)
        self._unsynced, self._synced_at = 0, self._clock.mono()

    # -- the start ------------------------------------------------------------------------

    def _open_part(self) -> int:
        """Open what an earlier run left; -1 where there is nothing to go on with."""
        fd = -1
        with suppress(OSError):
            fd = os.open(self.path, _FLAGS)
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size != self._subject.size:
                _close(fd)
                fd = -1
        return fd

    def _resume(self) -> Log | None:
        """Read the map; None where it is none of this blob's. Of the pieces that were not synced, those that are right are kept."""
        if self._fd < 0:
            return None
        try:
            data = _read(self._map, most_bytes(self._subject.size))
        except OSError:
            return None
        log = parse_log(data, self._subject)
        if log is None or (log.length == len(data) and not log.doubtful):
            return log
        log.safe.update(number for number in log.doubtful if self._is_right(number))
        os.fsync(self._fd)
        data, log = new_log(self._subject, self._number, log.safe)
        write_atomic(self._map, data)
        return log

    def _is_right(self, number: int) -> bool:
        return is_piece(self.read(number), self._index, number)

    def _begin(self) -> Log:
        """Make both files, the part file first: a map never speaks of one that is not there."""
        _close(self._fd)
        self._fd = -1
        for path in (self._map, self.path):
            if os.path.lexists(path):
                os.unlink(path)
                sync_folder(path.parent)
        self._fd = os.open(self.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            _reserve(self._fd, self._subject.size)
            os.fsync(self._fd)
            write_atomic(self._map, self._subject.header(self._number))  # syncs the folder as well
        except BaseException:
            with suppress(OSError):
                os.unlink(self.path)
            raise
        return Log(self._number)


def _reserve(fd: int, size: int) -> None:
    """Give a file its size, and its space where the file system can set that aside. Raises OSError(ENOSPC)."""
    try:
        if size:
            os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _NO_RESERVE:
            raise
        os.ftruncate(fd, size)


def _read(path: Path, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(fd, most, 0)
    finally:
        _close(fd)


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
