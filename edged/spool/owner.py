"""What the spool's writer tells: the owner of a queue, in the writer's thread, and a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edged.spool.rows import Row


class Owner(Protocol):
    """Whose rows they are: one broker's. While the disk hangs, `refused` may come from the thread that looked."""

    def kept(self, row: Row) -> None:
        """Say that a row is on disk."""

    def refused(self, row: Row, reason: str) -> None:
        """Say that a row will not be on disk."""

    def lost(self, row: int, stream: int, reason: str) -> None:
        """Say that an old row was deleted to make room."""

    def moved(self, upto: int) -> None:
        """Say that no row up to `upto` is on disk any more: the file was damaged."""

    def found(self, left: dict[int, int], last_row: int) -> None:
        """Say what was found on disk, from an earlier run: rows of each stream, up to `last_row`. All are to be read from the beginning."""

    def feed(self, rows: list[Row], after: int, upto: int) -> None:
        """Give rows behind `after`; there are no others up to `upto`."""


@dataclass(frozen=True)
class Moved:
    """A corrupt file that was moved aside; `rows` were known to be in it, None where nobody knows."""

    to: str
    why: str
    rows: int | None
