"""The monitor on a terminal, redrawn in place: port, speaker, channels, what was lost, what is wrong, and what came last."""

from __future__ import annotations

import os
import sys
from collections import deque

from edged.cli.columns import Cell, Column, clean, fit, painted, table, wrap, wrap_words
from edged.cli.serial.facts import losses, number, rates, speaker, state
from edged.cli.serial.suggestion import suggestion
from edged.cli.serial.telling import told
from edged.cli.serial.troubles import troubles
from edged.cli.serial.watched import Came, View
from edged.cli.terminal import frame, size, wants_colour

MAX_WIDTH = 160  # a port's name that stays is long, and a line to paste must not be cut
_KEPT = 8  # texts and events
_LONGEST = 300
_COLUMNS = (
    Column("CHANNEL", least=7),
    Column("UNIT", least=4),
    *(Column(title, right=True) for title in ("LAST", "MIN", "MEAN", "MAX")),
)


class Screen:
    """Draws on a terminal that `edged.cli.terminal.alternate_screen` has prepared."""

    every_s = 0.25

    def __init__(self, stable: str) -> None:
        """`stable` is the port's name for a configuration."""
        self._stable = stable
        self._last: deque[str] = deque(maxlen=_KEPT)

    def came(self, came: Came, view: View) -> None:
        """Keep what came for the next picture."""
        if text := told(came, view):
            self._last.append(f"{view.at_s:7.1f} s  {fit(text, _LONGEST)}")

    def look(self, view: View) -> None:
        """Draw."""
        columns, lines = size(sys.stdout, MAX_WIDTH)
        sys.stdout.write(frame("\n".join(drawn(view, [*self._last], self._stable, columns, wants_colour(sys.stdout, os.environ))), lines))
        sys.stdout.flush()


def drawn(view: View, last: list[str], stable: str, width: int, colour: bool) -> list[str]:
    """Give the lines of the picture, each at most `width` columns wide; `last` are the newest texts and events, oldest first."""
    seen = view.seen
    lines = wrap([clean(view.port), f"{view.baud} baud", *([seen.framing] if seen.framing else []), state(view)], " · ", width)
    if view.error is not None:
        lines = [painted(line, "red", colour) for line in lines]
        lines += wrap_words(clean(view.error.hint), width, "  → ", "    ")
    lines += wrap([part for part in speaker(seen) if part], " · ", width)
    lines += wrap(rates(seen, view.baud), " · ", width)
    if lost := losses(view):
        lines += [painted(line, "yellow", colour) for line in wrap(lost, " · ", width)]
    lines += _wrong(view, width, colour)
    if seen.channels:
        lines += [
            "",
            *table(_COLUMNS, [_cells(*each) for each in _rows(view)], width, colour),
            painted("min, mean and max of the last second", "dim", colour),
        ]
    if last:
        lines += ["", *(fit(text, width) for text in last)]
    if text := suggestion(seen, stable, view.baud):
        lines += ["", painted("To read it with edged:", "dim", colour), *(fit(line, width) for line in text.splitlines())]
    return [*lines, "", painted("q or Ctrl-C ends it", "dim", colour)]


def _wrong(view: View, width: int, colour: bool) -> list[str]:
    lines = []
    for trouble in [] if view.error else troubles(view.seen, view.baud):
        found = wrap_words(f"{clean(trouble.text)} [{trouble.code}]", width, "! ") + wrap_words(clean(trouble.hint), width, "  → ", "    ")
        lines += [painted(line, "yellow", colour) for line in found]
    return lines


def _rows(view: View) -> list[tuple[str, ...]]:
    return [
        (each.name, each.unit, *(number(value) for value in (each.last, each.low, each.mean, each.high))) for each in view.seen.channels
    ]


def _cells(*texts: str) -> list[Cell]:
    return [Cell(clean(text)) for text in texts]
