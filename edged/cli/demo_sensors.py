"""The screens of the demo of sensors: what they do and what comes back, as lines; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edged.cli.columns import Cell, Column, clean, fit, table, wrap_words
from edged.cli.wording import NOTHING, amount, count, duration
from edged.demo.pace import Pace
from edged.demo.tally import Tally
from edged.histogram import Histogram

if TYPE_CHECKING:
    from edged.demo.daemon import Memory
    from edged.demo.sensors import SensorsPlay

_BAR = 8
_COLUMNS = (
    Column("SENSOR"),
    Column("REALLY", least=8),
    Column("WINDOW FULL IN"),
    Column("SENT", right=True),
    Column("WINDOWS", right=True),
    Column("EDGED SAYS", least=15),
    Column("RIGHT", right=True),
    Column("P50 ms", right=True),
    Column("P99 ms", right=True),
    Column("IN EDGED", right=True),
)


def introduction(sensors: int, seconds: float) -> str:
    """Say what is run."""
    return (
        f"edged demo: {sensors} sensors → MQTT → edged → MQTT → here, all on this machine, for {seconds:g} s; Ctrl-C ends it.\n"
        "The sensors play recordings of people who stand, walk and run; a model tells which."
    )


class SensorsShow:
    """What a person sees of the sensors."""

    def __init__(self, play: SensorsPlay) -> None:
        self.play = play

    def opening(self) -> list[str]:
        """Say when the first results come."""
        pace = self.play.pace
        return [f"It takes {pace.samples} readings at a time: the first results come after {duration(pace.first_s, 1)}."]

    def line(self, passed_s: float) -> str:
        """Say how far it is."""
        return first_line(passed_s, self.play.plan.seconds, self.play.board.total(), self.play.pace)

    def screen(self, passed_s: float, width: int, lines: int, colour: bool) -> list[str]:
        """Draw a line for each sensor."""
        head = [self.line(passed_s), "✓ right, ✗ wrong, · the activity changed within the window; q ends it"]
        return [*cut(head, width), "", *sensors_table(self.play.board.tallies, self.play.pace, width, colour, live=True)]

    def summary(self, passed_s: float, memory: Memory, width: int, colour: bool) -> list[str]:
        """Sum up each sensor, and all."""
        board = self.play.board
        ending = Ending(passed_s, self.play.expected, memory.daemon or None)
        table_ = sensors_table(board.tallies, self.play.pace, width, colour, live=False)
        return [*table_, "", *summary(board.total(), ending, width)]

    def as_dict(self, passed_s: float, memory: Memory) -> dict[str, Any]:
        """Sum it up for programs."""
        board = self.play.board
        return as_dict(board.tallies, board.total(), Ending(passed_s, self.play.expected, memory.daemon or None))


def sensors_table(tallies: Sequence[Tally], pace: Pace, width: int, colour: bool, live: bool) -> list[str]:
    """Write one line a sensor; the bar of the window under way only while `live`."""
    columns, rows = list(_COLUMNS), [_row(tally, pace) for tally in tallies]
    if not live:
        columns, rows = [columns[0], *columns[3:]], [[row[0], *row[3:]] for row in rows]
    return table(columns, rows, width, colour)


def _row(tally: Tally, pace: Pace) -> list[Cell]:
    mark, paint = {True: (" ✓", "green"), False: (" ✗", "red"), None: (" ·", "yellow")}[tally.right]
    says = Cell(f"{clean(tally.label):<10} {tally.score:.2f}", paint, mark) if tally.windows else Cell(NOTHING)
    return [
        Cell(tally.name),
        Cell(tally.activity),
        Cell(_bar(tally.sent, pace)),
        Cell(count(tally.sent)),
        Cell(count(tally.windows)),
        says,
        Cell(f"{tally.agreed}/{tally.judged}" if tally.judged else NOTHING),
        Cell(amount(tally.latency.percentile(0.5))),
        Cell(amount(tally.latency.percentile(0.99))),
        Cell(amount(tally.inside.percentile(0.5))),
    ]


def _bar(sent: int, pace: Pace) -> str:
    full = int(pace.share(sent) * _BAR)
    return "█" * full + "░" * (_BAR - full) + f" {pace.missing(sent) / pace.rate_hz:.0f} s"


def first_line(passed_s: float, seconds: float, total: Tally, pace: Pace) -> str:
    """Say how far the demo is, and when the first results come."""
    line = f"{passed_s:.0f} of {seconds:g} s · {count(total.sent)} readings sent · {count(total.windows)} results"
    if total.windows:
        return f"{line} · {_agreement(total)}"
    left = pace.first_s - passed_s
    return f"{line} · the first in {left:.0f} s" if left > 0 else f"{line} · the first are due now"


def _agreement(total: Tally) -> str:
    return f"{total.agreed} of {total.judged} right" if total.judged else "none judged yet"


@dataclass(frozen=True)
class Ending:
    """How the demo went: real seconds, windows that the readings completed, the daemon's memory (None: it did not say)."""

    seconds: float
    expected: int
    memory_mib: float | None


def summary(total: Tally, ending: Ending, width: int) -> list[str]:
    """Write the sum of a run: counts, losses, agreement, latency, memory."""
    lost = ending.expected - total.windows
    fate = "none lost" if lost <= 0 else f"{count(lost)} not come back"
    facts = {
        "results": f"{count(total.sent)} readings in {duration(ending.seconds)} → {count(ending.expected)} windows"
        f" → {count(total.windows)} results, {fate}",
        "right": _right(total),
        "latency": _latency(total),
        "memory": NOTHING if ending.memory_mib is None else f"the daemon takes {ending.memory_mib:,.0f} MiB (PSS)",
    }
    lines: list[str] = []
    for name, fact in facts.items():
        lines += wrap_words(fact, width, f"{name:<9}", " " * 9)
    return lines


def _right(total: Tally) -> str:
    if not total.judged:
        return "no window yet to judge by: a window is ten seconds at natural speed"
    mixed = total.windows - total.judged
    text = f"{count(total.agreed)} of {count(total.judged)} windows"
    if mixed:
        text += f"; {count(mixed)} in which the activity changes are not judged"
    return f"{text}. The model knows these recordings: this shows that the path works, not how well it would do for you"


def _latency(total: Tally) -> str:
    if not total.windows:
        return NOTHING
    whole, inside = ([amount(each.percentile(q)) for q in (0.5, 0.99)] for each in (total.latency, total.inside))
    return (
        f"p50 {whole[0]} ms, p99 {whole[1]} ms from sending a window's last reading to having its result;"
        f" of it inside the daemon p50 {inside[0]} ms, p99 {inside[1]} ms"
    )


def cut(lines: Sequence[str], width: int) -> list[str]:
    """Cut plain lines to a terminal's width."""
    return [fit(line, width) for line in lines]


def as_dict(tallies: Sequence[Tally], total: Tally, ending: Ending) -> dict[str, Any]:
    """Give the sum of a run for programs; durations in ms unless named otherwise."""
    return {
        "seconds": round(ending.seconds, 3),
        "expected_windows": ending.expected,
        **_numbers(total),
        "memory_pss_mib": ending.memory_mib,
        "sensors": {tally.name: _numbers(tally) for tally in tallies},
    }


def _numbers(tally: Tally) -> dict[str, Any]:
    return {
        "readings": tally.sent,
        "results": tally.windows,
        "judged": tally.judged,
        "right": tally.agreed,
        "latency_ms": _percentiles(tally.latency),
        "daemon_latency_ms": _percentiles(tally.inside),
    }


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    return {name: histogram.percentile(q) for name, q in (("p50", 0.5), ("p99", 0.99))}
