"""Progress over rows of data: rows, rate and time left on a terminal, a line for each tenth elsewhere, if it takes long."""

from __future__ import annotations

import sys
import time

import click

from edged.cli.columns import clean
from edged.cli.progress import Progress
from edged.cli.wording import amount, count, duration

_PATIENT_S = 1.0  # what is done sooner needs no lines


class RowProgress:
    """Says how many rows of several parts, one after the other, are done; on standard error."""

    def __init__(self, unit: str = "rows") -> None:
        self._unit = unit
        self._terminal = sys.stderr.isatty()
        self._line = Progress("")
        self._part, self._began, self._tenth = "", 0.0, -1

    def show(self, part: str, done: int, of: int) -> None:
        """Say that `done` of `of` rows of a part are done; the first call of a part begins it."""
        now = time.monotonic()
        if part != self._part:
            self._part, self._began, self._tenth = part, now, -1
        elapsed = now - self._began
        text = f"{clean(part)}: {count(done)} of {count(of)} {self._unit}"
        if done and elapsed > 0:
            text += f", {amount(done / elapsed)}/s, {duration(elapsed * (of - done) / done)} left"
        if self._terminal:
            self._line.show(text)
        elif (tenth := done * 10 // max(1, of)) > self._tenth and elapsed > _PATIENT_S:
            self._tenth = tenth
            click.echo(text, err=True)

    def end(self) -> None:
        """Leave the line for what comes next."""
        self._line.end()
