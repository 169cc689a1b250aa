"""Tell how an update goes: one line that is written over on a terminal, a line for each stage and tenth elsewhere."""

from __future__ import annotations

import sys

from edged.cli.columns import fit
from edged.cli.progress import Progress
from edged.cli.terminal import size
from edged.cli.updates import how_far, subject
from edged.service.snapshot import UpdateStatus

MAX_WIDTH = 100
_MIB = 1 << 20


class Telling:
    """Writes to standard error."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._line = Progress("")
        self._told: tuple[object, ...] = ()

    def show(self, update: UpdateStatus) -> None:
        """Tell how far it is, where that is news."""
        text = f"{subject(update)}: {how_far(update)}{_rate(update)}"
        news = (update.state, update.attempt, bool(update.blocked_by), _tenths(update))
        if self._terminal:
            width, _ = size(sys.stderr, MAX_WIDTH)
            self._line.show(fit(text, width - 1))
        elif news != self._told:
            self._told = news
            self.say(text)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._line.end()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line for what comes next."""
        self._line.end()


def _rate(update: UpdateStatus) -> str:
    if not update.bytes_done or not update.since_s or update.bytes_total < _MIB:  # what takes no time has no rate
        return ""
    return f", {update.bytes_done / update.since_s / _MIB:.1f} MiB/s"


def _tenths(update: UpdateStatus) -> int:
    if update.bytes_total:
        return 10 * update.bytes_done // update.bytes_total
    return 10 * update.windows_done // update.windows_needed if update.windows_needed else 0
