"""The rows of the spool's database: put in, read, counted, and dropped where there is no room.

The functions here take an open database and leave transactions to their caller. They raise
what SQLite raises, and `Damaged` for a row that cannot be ours.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import NoneType
from typing import Literal

import msgspec

from edged.spool.faults import Damaged

PAGE = 4096  # bytes of a page of the database

# The index holds all that `waiting` needs: at the start nobody wants to read every payload to count them.
# The payload comes last, so that the other columns are found without walking along a long one.
SCHEMA = (
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, queue TEXT NOT NULL, stream INTEGER NOT NULL, time INTEGER NOT NULL, "
    "qos INTEGER NOT NULL, topic TEXT NOT NULL, content_type TEXT NOT NULL, properties BLOB, payload BLOB NOT NULL)",
    "CREATE INDEX rows_of_queue ON rows (queue, id, stream)",
)
_INSERT = "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_READ = "SELECT * FROM rows WHERE queue = ? AND id > ? ORDER BY id LIMIT ?"
_OLDEST = "SELECT id, queue, stream, length(payload) + length(topic) FROM rows ORDER BY id"

_READ_BYTES = 4 << 20  # payload in one read
_DROP_BYTES = 256 << 10  # dropped in one step where there is no room, so that the next rows find some
_EMPTY = 4 * PAGE  # what the database takes without rows
_SLACK = 8 * PAGE  # pages that B-trees may take beyond those of the rows when they grow or split


@dataclass(slots=True)
class Row:
    """One result that waits for a broker.

    `id` is given by the caller and only rises, also over restarts while rows are left. `queue` is the
    broker's name. `stream` is a signed 64-bit number; rows of one stream keep their order. `time` is
    the wall clock in nanoseconds when the result was accepted.
    """

    id: int
    queue: str
    stream: int
    topic: str
    payload: bytes
    qos: int
    content_type: str = ""
    properties: dict[str, str] | None = None
    time: int = 0


Dropped = tuple[str, int, int]  # queue, stream, id
_Values = tuple[int, str, int, int, int, str, str, "bytes | None", bytes]  # in the table's order

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, str]).decode
_SHAPES = {(int, str, int, int, int, str, str, properties, bytes) for properties in (NoneType, bytes)}


def used_bytes(db: sqlite3.Connection) -> int:
    """Count the bytes of the pages in use, as of now, also in the middle of a transaction."""
    return PAGE * (_number(db, "PRAGMA page_count") - _number(db, "PRAGMA freelist_count"))


def count(db: sqlite3.Connection) -> int:
    """Count the rows; reads the index, which is a tenth of the file."""
    return _number(db, "SELECT count(*) FROM rows")


def waiting(db: sqlite3.Connection) -> list[tuple[str, int, int]]:
    """Count the rows of each (queue, stream)."""
    counts = Counter(db.execute("SELECT queue, stream FROM rows"))
    return [(queue, stream, count) for (queue, stream), count in counts.items()]


def next_id(db: sqlite3.Connection) -> int:
    """Give an id above all that are there."""
    return 1 + _number(db, "SELECT coalesce(max(id), 0) FROM rows")


def oldest(db: sqlite3.Connection) -> int | None:
    """Give the time of the row with the lowest id; None without rows."""
    found = db.execute("SELECT time FROM rows ORDER BY id LIMIT 1").fetchone()
    return found[0] if found else None


def missing(db: sqlite3.Connection, dropped: Iterable[Dropped]) -> list[Dropped]:
    """Give those rows that are not in the table."""
    return [row for row in dropped if not _number(db, "SELECT count(*) FROM rows WHERE id = ?", row[2])]


def delete(db: sqlite3.Connection, ids: Iterable[int]) -> int:
    """Delete rows and count those that were there."""
    return db.executemany("DELETE FROM rows WHERE id = ?", ((each,) for each in ids)).rowcount


def read(db: sqlite3.Connection, queue: str, after: int, limit: int) -> list[Row]:
    """Read rows of a queue with an id above `after`, rising; at most `limit`, and no more than one beyond 4 MiB of payload."""
    found: list[Row] = []
    left = _READ_BYTES
    with closing(db.execute(_READ, (queue, after, limit))) as cursor:
        for values in cursor:
            found.append(_row(values))
            left -= len(found[-1].payload)
            if left <= 0:
                break
    return found


def append(
    db: sqlite3.Connection, rows: Sequence[Row], max_bytes: int, full: Literal["drop-oldest", "refuse"]
) -> tuple[list[Dropped], list[int]]:
    """Put rows in so that `used_bytes` never passes `max_bytes`; give the old rows dropped for it, and the ids of `rows` refused."""
    values = [_values(row) for row in rows]
    needs = [_need(each) for each in values]
    dropped: list[Dropped] = []
    refused: list[int] = []
    at = 0
    while at < len(values):
        room = max_bytes - _SLACK - used_bytes(db)
        end = _fitting(needs, at, room)
        if end > at:
            db.executemany(_INSERT, values[at:end])
            at = end
            continue
        possible = full == "drop-oldest" and needs[at] <= max_bytes - _SLACK - _EMPTY
        lost = _drop(db, max(needs[at], min(sum(needs[at:]), _DROP_BYTES, max_bytes // 8)) - room) if possible else []
        dropped += lost
        if not lost:
            refused.append(values[at][0])
            at += 1
    return dropped, refused


def _fitting(needs: list[int], at: int, room: int) -> int:
    """Give the end of the rows from `at` on that surely fit."""
    while at < len(needs) and needs[at] <= room:
        room -= needs[at]
        at += 1
    return at


def _drop(db: sqlite3.Connection, wanted: int) -> list[Dropped]:
    """Delete the oldest rows, about as many as take `wanted` bytes, and at least one if there is one."""
    dropped: list[Dropped] = []
    with closing(db.execute(_OLDEST)) as cursor:
        for row, queue, stream, length in cursor:
            dropped.append((queue, stream, row))
            wanted -= length + 40
            if wanted <= 0:
                break
    if dropped:
        db.execute("DELETE FROM rows WHERE id <= ?", (dropped[-1][2],))
    return dropped


def _need(values: _Values) -> int:
    """Bound from above what a row can take of the file, its share of inner pages included.

    Pages of a B-tree may be half empty, so a small row counts twice. A long one fills pages of its
    own beside two that it shares.
    """
    cell = 64 + sum(_length(each) for each in values)
    entry = 2 * (40 + _length(values[1]))
    return entry + (2 * cell if cell < PAGE else cell + cell // 512 + 3 * PAGE)


def _length(value: int | str | bytes | None) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else 4 * len(value)
    return len(value) if isinstance(value, bytes) else 0


def _values(row: Row) -> _Values:
    properties = None if row.properties is None else _encode(row.properties)
    return (row.id, row.queue, row.stream, row.time, row.qos, row.topic, row.content_type, properties, row.payload)


def _row(values: _Values) -> Row:
    # A torn page may be one of SQLite's own and yet hold rows that were never written.
    if tuple(map(type, values)) not in _SHAPES:
        raise Damaged("it holds a row that is none")
    row, queue, stream, time, qos, topic, content_type, encoded, payload = values
    try:
        properties = None if encoded is None else _decode(encoded)
    except msgspec.MsgspecError:
        raise Damaged("it holds a row that is none") from None
    return Row(row, queue, stream, topic, payload, qos, content_type, properties, time)


def _number(db: sqlite3.Connection, question: str, *parameters: int) -> int:
    return db.execute(question, parameters).fetchone()[0]
