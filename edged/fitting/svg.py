"""Coverage against accuracy as a picture: an SVG file, which needs no plotting library; pure.

SVG 1.1; white ground, so that it reads the same on any page.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from edged.fitting.curve import Point
from edged.fitting.stages import CascadeFit

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 56, 84
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000")  # Okabe and Ito 2008
_FONT = 'font-family="sans-serif" font-size="13"'


def cascade_svg(fit: CascadeFit, model: str) -> str:
    """Draw each stage alone, the cascade with its lower bound, the target, and what was chosen."""
    plot = _Plot(floor_of(fit))
    title = f"{model}: accuracy of what is accepted, on {fit.second_rows:,} rows of {fit.data}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" {_FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="28" font-weight="bold">{escape(title)}</text>',
        *plot.axes(),
        plot.line([(0.0, fit.target), (1.0, fit.target)], "#b00020", 'stroke-dasharray="6 4"'),
    ]
    legend = [("target", "#b00020")]
    for stage, colour in zip(fit.stages, _COLOURS):
        lines.append(plot.line([(each.coverage, each.accuracy) for each in stage.alone], colour, 'stroke-width="1.5" opacity="0.8"'))
        legend.append((f"{stage.use} alone", colour))
    lines.append(plot.line([(each.coverage, each.accuracy) for each in fit.curve], "#000000", 'stroke-width="2.5"'))
    lines.append(plot.line([(each.coverage, each.at_least) for each in fit.curve], "#000000", 'stroke-dasharray="2 3"'))
    legend += [("cascade", "#000000"), (f"dotted: at least, {fit.confidence:.0%} sure", "#000000")]
    if fit.reached:
        x, y = plot.at(fit.chosen.coverage, fit.chosen.accuracy)
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="#ffffff" stroke="#000000" stroke-width="2.5"/>')
        legend.append(("ring: chosen", "#000000"))
    return "\n".join([*lines, *_legend(legend), "</svg>", ""])


def floor_of(fit: CascadeFit) -> float:
    """Give the accuracy where the picture begins: a multiple of 0.1 below the target and nearly all curves."""
    shown: Sequence[Point] = [*fit.curve, *(each for stage in fit.stages for each in stage.alone)]
    least = min([fit.target, *(each.accuracy for each in shown)])
    return max(0.0, int(least * 10 - 0.01) / 10)


class _Plot:
    """Places of coverage (across) and accuracy (up, from `floor`)."""

    def __init__(self, floor: float) -> None:
        self._floor = floor

    def at(self, coverage: float, accuracy: float) -> tuple[float, float]:
        up = (max(accuracy, self._floor) - self._floor) / (1.0 - self._floor)
        return _LEFT + coverage * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], colour: str, style: str) -> str:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        return f'<polyline points="{places}" fill="none" stroke="{colour}" {style}/>'

    def axes(self) -> list[str]:
        lines = []
        for i in range(11):
            x, bottom = self.at(i / 10, self._floor)
            lines.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="#e4e4e4"/>')
            lines.append(f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{i * 10} %</text>')
        for i in range(6):
            accuracy = self._floor + (1.0 - self._floor) * i / 5
            x, y = self.at(0.0, accuracy)
            lines.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#e4e4e4"/>')
            lines.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{accuracy:.0%}</text>')
        lines.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - _BOTTOM + 36}" text-anchor="end">rows that are accepted</text>')
        return lines


def _legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    lines, x, y = [], _LEFT, _HEIGHT - 26
    for text, colour in entries:
        width = 34 + 7 * len(text)
        if x + width > _WIDTH - _RIGHT:
            x, y = _LEFT, y + 18
        lines.append(f'<rect x="{x}" y="{y - 6}" width="14" height="3" fill="{colour}"/>')
        lines.append(f'<text x="{x + 20}" y="{y}">{escape(text)}</text>')
        x += width
    return lines
