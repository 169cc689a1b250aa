"""Coverage against accuracy in block characters; pure."""

from __future__ import annotations

from collections.abc import Sequence

from edged.cli.columns import clean, painted, wrap
from edged.fitting.curve import Point
from edged.fitting.stages import CascadeFit
from edged.fitting.svg import floor_of

_HEIGHT = 16
_MARGIN = 7  # columns of the scale at the left
_MARKS = "▒▓▚▞▖▘▝▗"  # of stages alone, in their order
_COLOURS = ("cyan", "yellow", "green", "dim")


def plot_lines(fit: CascadeFit, width: int, colour: bool) -> list[str]:
    """Draw stages alone, the cascade (█), its lower bound (·), the target (─) and what was chosen (◉) in `width` columns."""
    plot = _Plot(floor_of(fit), max(20, width - _MARGIN - 1))
    for column in range(plot.width):
        plot.put(column / (plot.width - 1), fit.target, "─", "red")
    for stage, mark, paint in zip(fit.stages, _MARKS, _COLOURS * 2):
        plot.curve([(each.coverage, each.accuracy) for each in stage.alone], mark, paint)
    plot.curve(_bounds(fit.curve), "·", "")
    plot.curve([(each.coverage, each.accuracy) for each in fit.curve], "█", "bold")
    if fit.reached:
        plot.put(fit.chosen.coverage, fit.chosen.accuracy, "◉", "bold")
    names = [f"{mark} {clean(stage.use)} alone" for stage, mark in zip(fit.stages, _MARKS)]
    marks = [*names, "█ cascade", f"· at least, {fit.confidence:.0%} sure", "─ target", *(["◉ chosen"] if fit.reached else [])]
    return [*plot.lines(colour), *wrap(marks, "   ", width)]


def _bounds(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(each.coverage, each.at_least) for each in points]


class _Plot:
    """A grid of characters: coverage across, accuracy up from `floor`; what is put later lies above."""

    def __init__(self, floor: float, width: int) -> None:
        self._floor, self.width = floor, width
        self._cells: list[list[tuple[str, str]]] = [[(" ", "")] * width for _ in range(_HEIGHT)]

    def put(self, coverage: float, accuracy: float, mark: str, paint: str) -> None:
        up = (accuracy - self._floor) / (1.0 - self._floor)
        if 0.0 <= up <= 1.0:
            row, column = round((1.0 - up) * (_HEIGHT - 1)), round(coverage * (self.width - 1))
            self._cells[row][column] = (mark, paint)

    def curve(self, points: Sequence[tuple[float, float]], mark: str, paint: str) -> None:
        """Put points, and straight lines between neighbours."""
        for i, (coverage, accuracy) in enumerate(points):
            after, accuracy_after = points[min(i + 1, len(points) - 1)]
            steps = max(1, round(2 * (after - coverage) * self.width))  # so that rounding leaves no gaps
            for step in range(steps + 1):
                part = step / steps
                self.put(coverage + (after - coverage) * part, accuracy + (accuracy_after - accuracy) * part, mark, paint)

    def lines(self, colour: bool) -> list[str]:
        lines = []
        for i, row in enumerate(self._cells):
            accuracy = 1.0 - (1.0 - self._floor) * i / (_HEIGHT - 1)
            scale = f"{accuracy:5.1%}" if i % 5 == 0 else ""
            lines.append(f"{scale:>6}│" + "".join(painted(mark, paint, colour) for mark, paint in row).rstrip())
        ends = f"0 %{'rows that are accepted':^{self.width - 8}}100 %"
        return [*lines, " " * 6 + "└" + "─" * self.width, " " * _MARGIN + ends]
