"""Rows that wait to be written to the spool's file, in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from edged.spool.rows import Row


class Pending:
    """What the writer has in memory only. No locks: its owner has one."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._bytes = 0
        self._writing = 0  # rows up to this one are being written: they may not go meanwhile

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row: int) -> bool:
        return row in self._rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def add(self, row: Row) -> None:
        """Take a row; its id is above all others."""
        self._rows[row.id] = row
        self._bytes += len(row.payload)

    def begin(self, most: int) -> list[Row]:
        """Give the oldest rows, to be written now; `end` follows."""
        rows = list(islice(self._rows.values(), most))
        self._writing = rows[-1].id if rows else 0
        return rows

    def end(self, written: list[Row]) -> None:
        """Let go of rows that were written; nothing is being written any more."""
        self._writing = 0
        for row in written:
            self.remove(row.id)

    def remove(self, row: int) -> bool:
        """Let go of a row; False where it is not here, or is being written."""
        if row <= self._writing or row not in self._rows:
            return False
        self._bytes -= len(self._rows.pop(row).payload)
        return True

    def behind(self, queue: str, after: int, most: int) -> list[Row]:
        """Give rows of a queue with an id above `after`."""
        return list(islice((row for row in self._rows.values() if row.queue == queue and row.id > after), most))

    def trim(self, most_rows: int, most_bytes: int, newest: bool) -> list[Row]:
        """Let go of the oldest rows, or of the `newest`, until no more than so much is left; give them."""
        let_go: list[Row] = []
        rows = list(self._rows) if len(self._rows) > most_rows or self._bytes > most_bytes else []
        for row in reversed(rows) if newest else rows:
            if len(self._rows) <= most_rows and self._bytes <= most_bytes:
                break
            found = self._rows[row]
            if self.remove(row):
                let_go.append(found)
        return let_go
