"""What the lines of a plain sketch look like: how many columns, their names, what parts them, and what is a debug print; pure.

A line's own names (pairs, JSON) count at once. A header's count when a line with as many numbers follows.
"""

from __future__ import annotations

from firmware_bridge.columns import names_of, separator_of, split

_SURE = 20  # lines in which a column must rise by whole numbers to be taken for the sketch's clock


class Sketch:
    """Takes the lines of one sketch, in their order.

    Of the newest readings: `width` columns (0: none yet), `names` (none where the lines have none), `separator` (`json` for
    JSON). Since the start: `readings`, `prints` (lines that are no readings), `last_print`, `changes` of the columns.
    """

    def __init__(self) -> None:
        self.width = 0
        self.names: list[str] = []
        self.separator = ""
        self.readings = 0
        self.prints = 0
        self.last_print = ""
        self.changes = 0
        self._header: list[str] = []
        self._rising = 0
        self._before = -1.0

    def line(self, line: bytes) -> list[float] | None:
        """Take a line; give its numbers, in its order, or None where it is a header or a debug print."""
        cells = split(line)
        names = names_of(line)
        if cells is None:
            self._other(line, names)
            return None
        numbers = [float(cell) for cell in cells]
        separator = "json" if line.lstrip()[:1] in (b"{", b"[") else separator_of(line).decode()
        if names is None and len(self._header) == len(cells):
            names = self._header
        self._shape(len(cells), names or [], separator)
        self.readings += 1
        self._look_for_a_clock(numbers[0], cells[0])
        return numbers

    @property
    def has_clock(self) -> bool:
        """Say whether the first of several columns only rises, by whole numbers: `millis()`, or a count of readings."""
        return self._rising >= _SURE and self.width > 1

    def _other(self, line: bytes, names: list[str] | None) -> None:
        if names:
            self._header = names
        else:
            self.prints += 1
            self.last_print = line.decode("utf-8", "replace")

    def _shape(self, width: int, names: list[str], separator: str) -> None:
        if (width, names, separator) == (self.width, self.names, self.separator):
            return
        if self.width:
            self.changes += 1
        self.width, self.names, self.separator = width, names, separator
        self._rising = 0

    def _look_for_a_clock(self, first: float, cell: bytes) -> None:
        self._rising = self._rising + 1 if cell.isdigit() and first > self._before else 0
        self._before = first
