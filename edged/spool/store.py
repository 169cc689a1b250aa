"""The spool's file: results that wait for a broker, one row each, safe when `write` returns.

An SQLite database with a write-ahead log that is synced at every commit. One thread at a time
uses a `Store`; `count`, `used_bytes` and `oldest` may be asked from any.

What `max_bytes` bounds: the pages in use, which is also what the file can grow to, B-trees and
unused rests of pages included. Beside it there may be the write-ahead log (4 MiB, plus the
largest single `write`) and one damaged file moved aside. A file with more than 4 MiB to spare
shrinks when less than 1 MiB of it is in use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edged.clock import Clock
from edged.spool import file, rows
from edged.spool.faults import CORRUPT, DISK_FULL, FOREIGN, Damaged, SpoolError, fault_of
from edged.spool.rows import Dropped, Row

__all__ = ["Opened", "Row", "SpoolError", "Store", "Written"]

_LIVE_BYTES = 1 << 20  # a file with at most this in use
_SPARE_BYTES = 4 << 20  # and this much not in use is made smaller
_LONG_WAL_BYTES = 4 * file.WAL_BYTES


@dataclass(frozen=True)
class Opened:
    """What was found: `waiting` holds (queue, stream, rows) of an earlier run, `next_id` is above all ids of it.

    `moved` is where a damaged file lies now, and `why` says what was wrong with it.
    """

    waiting: list[tuple[str, int, int]]
    next_id: int
    moved: Path | None
    why: str


@dataclass(frozen=True)
class Written:
    """What had to give way: `dropped` old rows as (queue, stream, id), and the ids of new rows `refused`.

    A row of the same write may be dropped, too, where they do not all fit.
    """

    dropped: list[Dropped]
    refused: list[int]


class Store:
    """The rows at `path`. When they take `max_bytes`, `full` decides whether the oldest go or new ones are refused."""

    def __init__(self, path: Path, max_bytes: int, full: Literal["drop-oldest", "refuse"], clock: Clock) -> None:
        self.count = 0
        self.used_bytes = 0
        self.path = path
        self._max_bytes = max_bytes
        self._full = full
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._file: file.FileId | None = None  # which file the rows are in, also while it is not open
        self._wal: file.FileId | None = None
        self._oldest: int | None = None
        self._damage = ""  # why the file must be moved aside
        self._unsure: set[int] = set()  # put in by commits that failed
        self._unsure_dropped: set[Dropped] = set()  # and dropped by them
        self._untold: list[Dropped] = []  # of the latter, those that are gone all the same

    def open(self) -> Opened:
        """Open the file, or make it; a damaged one is moved aside first. May be called again at any time.

        Raises SpoolError where the disk or a permission is at fault.
        """
        try:
            return self._open()
        except SpoolError as error:
            if error.code != CORRUPT:
                raise
        return self._open()  # it is known to be damaged now

    def write(self, new: list[Row], gone: list[int]) -> Written:
        """Delete the rows `gone`, make room, append `new`: in one transaction, which is on disk when this returns.

        Raises SpoolError; then it may be called again with the same arguments, after `spool-corrupt`
        once `open` was called. Until then nothing of it happened, but that rows of `gone` may be gone.
        """
        if not new and not gone:
            return Written([], [])
        with self._guarded():
            db = self._writable()
            db.execute("BEGIN IMMEDIATE")
            try:
                deleted = rows.delete(db, gone)
                dropped, refused = rows.append(db, new, self._max_bytes, self._full)
                used, oldest = rows.used_bytes(db), rows.oldest(db)
                self._commit(db, [row.id for row in new], dropped)
            except BaseException:
                with suppress(sqlite3.Error):
                    db.rollback()
                raise
        self.count += len(new) - len(refused) - len(dropped) - deleted
        self.used_bytes, self._oldest = used, oldest
        self._give_back(db)
        untold, self._untold = self._untold, []
        return Written(untold + dropped, refused)

    def read(self, queue: str, after: int, limit: int) -> list[Row]:
        """Give rows of a queue with an id above `after`, in rising order: at most `limit`, and about 4 MiB. Raises SpoolError."""
        with self._guarded():
            return rows.read(self._db or self._reconnect(), queue, after, limit)

    def oldest(self) -> int | None:
        """Give when the oldest row was accepted, in wall clock nanoseconds; None without rows."""
        return self._oldest

    def close(self) -> None:
        """Let go of the file; nothing is lost by not calling it."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    # -- the file below ----------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what goes wrong into a SpoolError, and leave the store so that a later call can do better."""
        try:
            yield
        except (*FOREIGN, Damaged) as error:
            fault = fault_of(error, self.path)
            if fault.code == CORRUPT:
                self._damage = str(error)
            # A full disk is no reason to let go; anything else may be of this connection alone.
            with suppress(OSError):
                if fault.code != DISK_FULL and not self._is_orphan():
                    self.close()
            raise fault from error

    def _open(self) -> Opened:
        moved, why = None, self._damage
        with self._guarded():
            file.make_folder(self.path.parent)
            if not self._damage and self._is_orphan():
                self._carry_over()
            self.close()
            if self._damage:
                moved = file.move_aside(self.path, self._clock.wall())
            elif file.has_garbage_wal(self.path):
                moved, why = file.move_aside(self.path, self._clock.wall(), (file.WAL,)), "its write-ahead log is garbage"
            db = self._connect()
            found = Opened(rows.waiting(db), rows.next_id(db), moved, why)
            self._know(db)
        self._damage, self._untold = "", []
        self._give_back(db)
        return found

    def _connect(self) -> sqlite3.Connection:
        if file.id_of(self.path) is None:
            file.make(self.path)
        db = self._db = file.connect(self.path)
        # A commit whose sync failed may be in the log all the same, and come back with it.
        if self._unsure or self._unsure_dropped:
            db.execute("BEGIN IMMEDIATE")
            rows.delete(db, self._unsure)
            db.execute("COMMIT")
            self._untold += rows.missing(db, self._unsure_dropped)
            self._forget_unsure()
        return db

    def _know(self, db: sqlite3.Connection) -> None:
        """Take note of what an open file is and holds."""
        self.count, self.used_bytes, self._oldest = rows.count(db), rows.used_bytes(db), rows.oldest(db)
        self._file, self._wal = file.id_of(self.path), file.id_of(file.beside(self.path, file.WAL))

    def _reconnect(self) -> sqlite3.Connection:
        """Open the file again after an error; only `open` may tell of another file with other rows."""
        if self._damage:
            raise Damaged(self._damage)
        file.make_folder(self.path.parent)
        known = self._file is not None and file.id_of(self.path) == self._file
        db = self._connect()
        if not known and (self.count or rows.count(db)):
            self.close()
            text = f"{self.path} is not the file it was: it was deleted, or another took its place"
            raise SpoolError(CORRUPT, text, "leave the spool's file to edged; what was in it is lost to the broker")
        self._know(db)
        return db

    def _writable(self) -> sqlite3.Connection:
        """Give a connection whose commits end in the files that a later start will find."""
        db = self._db or self._reconnect()
        if self._is_orphan():
            file.make_folder(self.path.parent)
            db = self._carry_over()
        elif file.size_of(file.beside(self.path, file.WAL)) > _LONG_WAL_BYTES:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # where SQLite's own failed, which it keeps to itself
        return db

    def _is_orphan(self) -> bool:
        """Say whether the open file, or its log, was deleted or replaced: then only the connection still holds the rows."""
        if self._db is None:
            return False
        return file.id_of(self.path) != self._file or file.id_of(file.beside(self.path, file.WAL)) != self._wal

    def _carry_over(self) -> sqlite3.Connection:
        """Give the rows of an orphan a file again. A stranger in its place is moved aside."""
        if file.id_of(self.path) not in (None, self._file):
            file.move_aside(self.path, self._clock.wall())
        file.make(self.path, self._db)
        self._file = file.id_of(self.path)
        self.close()
        db = self._connect()
        self._know(db)
        return db

    def _commit(self, db: sqlite3.Connection, ids: list[int], dropped: list[Dropped]) -> None:
        try:
            db.execute("COMMIT")
        except sqlite3.Error:
            self._unsure.update(ids)
            self._unsure_dropped.update(dropped)
            raise
        self._forget_unsure()

    def _forget_unsure(self) -> None:
        self._unsure.clear()
        self._unsure_dropped.clear()

    def _give_back(self, db: sqlite3.Connection) -> None:
        """Make the file small again once it is nearly empty; what fails is tried again at a later write.

        VACUUM rewrites what is in use, so it waits until that is little. It needs no list of who points to
        which page, as auto_vacuum does, and no second of work for a large file.
        """
        with suppress(*FOREIGN):
            if self.used_bytes <= _LIVE_BYTES and file.size_of(self.path) - self.used_bytes >= _SPARE_BYTES:
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.used_bytes = rows.used_bytes(db)
