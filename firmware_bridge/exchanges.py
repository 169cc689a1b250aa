"""What TIME exchanges say of a line under arrivals: how far it is from the truth.

An exchange is a question that was sent at a time of the host, taken by the firmware at one tick and answered at another,
and the arrival of the answer. Each way takes a least delay and some more. By a line that is late by c, answers are on
their way for their delay less c, and questions for their delay plus c. Where the least delays are the same both ways, c is
half the difference of the least that were seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from firmware_bridge.outliers import too_short

_MOST = 128  # at one in ten seconds twenty minutes: the least of a few is not the least there is
_FLOOR_NS = 1_000_000.0
_CHANGED_NS = 2_000_000.0  # more than by chance, between some exchanges and all
_ENOUGH = 8
_WORST_DRIFT = 0.05


@dataclass(slots=True)
class _Exchange:
    sent_ns: int
    ticks_in: int
    ticks_out: int
    came_ns: int
    down_ns: float | None = None  # the delays, by the line
    up_ns: float = 0.0


class Exchanges:
    """The last exchanges with one firmware."""

    def __init__(self) -> None:
        self._all: deque[_Exchange] = deque(maxlen=_MOST)

    def add(self, sent_ns: int, ticks_in: int, ticks_out: int, came_ns: int, tick_ns: float) -> bool:
        """Add one; False where it cannot be true, as the firmware says that it took longer than question and answer together."""
        took = (ticks_out - ticks_in) * tick_ns
        if not 0 <= took * (1 - _WORST_DRIFT) <= came_ns - sent_ns:
            return False
        self._all.append(_Exchange(sent_ns, ticks_in, ticks_out, came_ns))
        return True

    def correction(self, line: Callable[[int], float], since: float) -> float | None:
        """Give what is to be added to a line, in ns; None without exchanges.

        `line` gives the host's ns of ticks, and is right from the tick `since` on. What older exchanges said then stays, as
        long as the newer ones do not say something else: the line has moved, or the delays have changed.
        """
        for each in self._all:
            if each.down_ns is None or each.ticks_in >= since:
                each.down_ns = line(each.ticks_in) - each.sent_ns
                each.up_ns = each.came_ns - line(each.ticks_out)
        newer = [each for each in self._all if each.ticks_in >= since]
        if len(newer) >= _ENOUGH and _differ(_least_delays(newer), _least_delays(self._all)):
            self._all = deque(newer, maxlen=_MOST)
        if not self._all:
            return None
        down, up = _least_delays(self._all)
        return (up - down) / 2

    def accuracy_ns(self, tick_ns: float) -> float | None:
        """Give half the time on the way of the quickest exchange: a line put right cannot be further off; None without exchanges."""
        ways = [each.came_ns - each.sent_ns - (each.ticks_out - each.ticks_in) * tick_ns for each in self._all]
        return max(0.0, min(ways) / 2) if ways else None


def _least_delays(exchanges: Iterable[_Exchange]) -> tuple[float, float]:
    """Give the shortest delays down and up that can be true."""
    return _least([each.down_ns or 0.0 for each in exchanges]), _least([each.up_ns for each in exchanges])


def _least(delays: list[float]) -> float:
    return min(delay for delay, wrong in zip(delays, too_short(delays, _FLOOR_NS)) if not wrong)


def _differ(some: tuple[float, float], others: tuple[float, float]) -> bool:
    return max(abs(a - b) for a, b in zip(some, others)) > _CHANGED_NS
