"""What can go wrong with the spool's file, as errors with a stable code and a next step."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from edged.errors import BoardError

DISK_FULL = "spool-disk-full"
READ_ONLY = "spool-read-only"
NO_PERMISSION = "spool-no-permission"
IO_ERROR = "spool-io-error"
CORRUPT = "spool-corrupt"
FAILED = "spool-failed"
HUNG = "spool-hung"

# What a foreign module raises where the file, the disk or a row is at fault. All else is a bug of ours.
FOREIGN = (sqlite3.Error, OSError, MemoryError, OverflowError, UnicodeError)


class SpoolError(BoardError):
    """The spool's file cannot be used now. After `spool-corrupt` it must be opened again; all else may be tried again as it is."""


class Damaged(Exception):
    """What is at the spool's path is no spool that this version can use; the text says why, about "it"."""


_WORDS = {
    DISK_FULL: ("no space left for {path}", "free some space on its disk; it is tried again by itself"),
    READ_ONLY: (
        "{path} is on a read-only file system",
        "look for disk errors with `dmesg` and mount it for writing again, or put device.state_dir on another disk",
    ),
    NO_PERMISSION: ("no permission to write {path}", "give the user that edged runs as this file and its folder, with `chown` and `chmod`"),
    IO_ERROR: (
        "the disk failed under {path}",
        "look for disk errors with `dmesg`; if it stays, change the disk, or put device.state_dir on another one",
    ),
    CORRUPT: ("{path} is damaged", "it is moved aside and a new one is begun; if it comes again, look for disk errors with `dmesg`"),
    HUNG: ("{path} does not answer", "the disk hangs: look for its errors with `dmesg`; if it stays, put device.state_dir on another one"),
    FAILED: ("{path} cannot be used", "see that no other program has opened it, and that its folder is one; it is tried again by itself"),
}

_OF_ERRNO = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: NO_PERMISSION,
    errno.EPERM: NO_PERMISSION,
    errno.EIO: IO_ERROR,
}

# SQLite's own words, the same for many years. Python 3.10 does not give its numbers.
_OF_MESSAGE = {
    "database or disk is full": DISK_FULL,
    "attempt to write a readonly database": READ_ONLY,
    "disk I/O error": IO_ERROR,
    "malformed": CORRUPT,
    "file is not a database": CORRUPT,
    "Could not decode to UTF-8": CORRUPT,
}


def fault_of(error: BaseException, path: Path) -> SpoolError:
    """Say what an exception means for the spool at `path`."""
    code = _code(error)
    if isinstance(error, sqlite3.Error) and code in (READ_ONLY, IO_ERROR, FAILED):
        code = _cause(path) or code
    text, hint = _WORDS[code]
    detail = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return SpoolError(code, f"{text.format(path=path)}: {detail}", hint)


def hanging(path: Path) -> SpoolError:
    """Say that the disk under the spool at `path` neither takes nor refuses."""
    text, hint = _WORDS[HUNG]
    return SpoolError(HUNG, text.format(path=path), hint)


def _code(error: BaseException) -> str:
    if isinstance(error, Damaged):
        return CORRUPT
    if isinstance(error, OSError):
        return _OF_ERRNO.get(error.errno or 0, FAILED)
    return next((code for words, code in _OF_MESSAGE.items() if words in str(error)), FAILED)


def _cause(path: Path) -> str | None:
    """Ask the file system why SQLite could not: it says "unable to open database file" and "disk I/O error" to nearly everything."""
    try:
        disk = os.statvfs(path.parent)
        if disk.f_flag & os.ST_RDONLY:
            return READ_ONLY
        files = [file for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    except OSError as error:
        return _OF_ERRNO.get(error.errno or 0)
    if not os.access(path.parent, os.W_OK | os.X_OK) or not all(os.access(file, os.R_OK | os.W_OK) for file in files):
        return NO_PERMISSION
    return DISK_FULL if disk.f_bavail == 0 or (disk.f_files and disk.f_favail == 0) else None
