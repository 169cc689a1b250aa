"""The spool's file on disk: made whole or not at all, checked before use, moved aside when it is damaged.

These functions raise OSError and sqlite3.Error, and `Damaged` for a file that cannot be used.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from glob import escape
from pathlib import Path
from urllib.parse import quote

from edged.atomic import sync_folder
from edged.clock import iso
from edged.spool.faults import Damaged
from edged.spool.rows import PAGE, SCHEMA

VERSION = 1  # of the schema, in `user_version`
WAL_BYTES = 4 << 20  # what the write-ahead log keeps on disk; SQLite empties it into the database about there
WAL = "-wal"
_BESIDE = (WAL, "-shm", "-journal")
_CHECKED_BYTES = 256 << 20

_MAGIC = b"SQLite format 3\0"
_VERSION_AT = 60
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83", bytes(4))  # zeros: a power cut before the first sector was written

# EXCLUSIVE: no file of shared memory, and no other program that holds the log up.
# FULL: the log is synced at every commit. secure_delete: some builds overwrite what is deleted, which wears flash for nothing.
_PRAGMAS = (
    "locking_mode = EXCLUSIVE",
    "synchronous = FULL",
    "secure_delete = OFF",
    "temp_store = MEMORY",
    f"journal_size_limit = {WAL_BYTES}",
    f"wal_autocheckpoint = {WAL_BYTES // PAGE}",
)

FileId = tuple[int, int]  # device and inode


def beside(path: Path, suffix: str) -> Path:
    """Give the path of a file that SQLite keeps beside the database."""
    return path.with_name(path.name + suffix)


def id_of(path: Path) -> FileId | None:
    """Say which file is at a path; None for none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def size_of(path: Path) -> int:
    """Give a file's bytes; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def make_folder(folder: Path) -> None:
    """Make a folder, durably; also those that it is in."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def make(path: Path, source: sqlite3.Connection | None = None) -> None:
    """Put a spool at `path`: an empty one, or one with all that `source` holds.

    It is built under another name, synced, and renamed: a power cut leaves no half-made spool. A
    write-ahead log that lies there without its database would be read into the new one; it goes first.
    """
    part = path.with_name(f".{path.name}.part")
    for leftover in (part, *(beside(part, suffix) for suffix in _BESIDE), *(beside(path, suffix) for suffix in _BESIDE)):
        leftover.unlink(missing_ok=True)
    sync_folder(path.parent)
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # results are nobody else's business
        _build(part, source)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _build(path: Path, source: sqlite3.Connection | None) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous = OFF")  # it is synced as a whole
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA auto_vacuum = NONE")  # some builds default to another
        if source:
            source.backup(db)
        else:
            for statement in (*SCHEMA, f"PRAGMA user_version = {VERSION}"):
                db.execute(statement)
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()


def connect(path: Path) -> sqlite3.Connection:
    """Open the spool at `path`; nothing is written to it.

    Every page is read only after a run that did not end cleanly: on an SD card that takes some
    seconds for 256 MiB. After a clean one, and in a larger file, a bad page shows when it is read.
    """
    _check_header(path)
    unclean = size_of(beside(path, WAL)) > 0
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"  # by a URI, so that SQLite makes no file of its own
    db = sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        _check_schema(db)
        if unclean and size_of(path) <= _CHECKED_BYTES:
            _check_pages(db)
    except BaseException:
        db.close()
        raise
    return db


def has_garbage_wal(path: Path) -> bool:
    """Say whether the write-ahead log of the spool at `path` begins as none can, whatever a power cut left of it."""
    wal = beside(path, WAL)
    if not os.path.lexists(wal):
        return False
    if not wal.is_file():
        return True
    with wal.open("rb") as file:
        start = file.read(4)
    return start != b"" and start not in _WAL_MAGIC


def move_aside(path: Path, wall: int, suffixes: tuple[str, ...] = ("", *_BESIDE)) -> Path | None:
    """Rename what lies at `path` and beside it; give the first new path, None where nothing lay there.

    Only the newest is kept, so that the disk does not fill. A folder is nobody's old spool: it is never deleted.
    """
    target = path.with_name(f"{path.name}.corrupt-{iso(wall).replace(':', '')}")
    moved = [beside(target, suffix) for suffix in suffixes if os.path.lexists(beside(path, suffix))]
    for new in moved:
        os.replace(beside(path, new.name[len(target.name) :]), new)
    sync_folder(path.parent)
    for old in path.parent.glob(f"{escape(path.name)}.corrupt-*"):
        if moved and not old.name.startswith(target.name) and not old.is_dir():
            old.unlink()
    return moved[0] if moved else None


def _check_header(path: Path) -> None:
    """Judge by the first bytes, before SQLite writes beside a file that is not ours or waits for a pipe."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise Damaged("it is not a file")
    with path.open("rb") as file:
        head = file.read(_VERSION_AT + 4)
    if not head:
        raise Damaged("it is empty")
    if not head.startswith(_MAGIC) or len(head) < _VERSION_AT + 4:
        raise Damaged("it is not a database")
    version = int.from_bytes(head[_VERSION_AT:], "big")
    if version > VERSION:
        raise Damaged(f"its format is {version}, of a newer edged; this one knows {VERSION}")


def _check_schema(db: sqlite3.Connection) -> None:
    found = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master ORDER BY rowid")]
    kept = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "page_size", "journal_mode"))
    if found != list(SCHEMA) or kept != (VERSION, PAGE, "wal"):
        raise Damaged("it is a database of something else")


def _check_pages(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Damaged(" ".join(str(found).split())[:200])
