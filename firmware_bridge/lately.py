"""What came in the last seconds: how many a second, and the least, mean and greatest value of each channel; pure.

Both keep a few dozen numbers, however much comes. Times are nanoseconds that only rise, given by the caller.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_S = 1_000_000_000
_LONG_NS = 5 * _S  # a rate is that of so long: it must hold for blocks that come once a second, and follow a change
_SLOT_NS = _S // 50
_STEP_NS = _S // 10


class Rate:
    """How many a second. Between arrivals, not slices of a clock: blocks of any size give a steady number."""

    def __init__(self) -> None:
        self._came: deque[list[int]] = deque()  # [began, last arrival, count]

    def add(self, count: int, now_ns: int) -> None:
        """Say that `count` of them came now."""
        came = self._came
        if came and now_ns - came[-1][0] < _SLOT_NS:
            came[-1][1] = now_ns
            came[-1][2] += count
        else:
            came.append([now_ns, now_ns, count])
        while came[0][1] < now_ns - _LONG_NS:
            came.popleft()

    def per_second(self, now_ns: int) -> float:
        """Give the rate over the last seconds; 0 as long as there was one arrival only, and in silence it falls."""
        came = self._came
        while came and came[0][1] < now_ns - _LONG_NS:
            came.popleft()
        if len(came) < 2:
            return 0.0
        first, last = came[0][1], came[-1][1]
        gap = (last - first) / (len(came) - 1)
        end = last if now_ns - last < 2 * gap else now_ns
        return (sum(each[2] for each in came) - came[0][2]) * _S / (end - first)

    def clear(self) -> None:
        """Forget what came."""
        self._came.clear()


@dataclass(slots=True)
class Spread:
    """The values of one channel in a while: the last of all, and of those that are finite the least, mean and greatest."""

    last: float = math.nan
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    count: int = 0

    def take(self, values: Sequence[float]) -> None:
        """Add values, at least one, oldest first."""
        self.last = values[-1]
        total: float = sum(values)
        if not math.isfinite(total):  # a NaN or an infinity is among them: min() and max() are not to be trusted
            values = [value for value in values if math.isfinite(value)]
            total = sum(values)
        if values:
            self.low, self.high = min(self.low, min(values)), max(self.high, max(values))
            self.total += total
            self.count += len(values)

    def join(self, later: Spread) -> None:
        """Add another's values, which came later."""
        self.last = later.last
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.total += later.total
        self.count += later.count

    @property
    def mean(self) -> float:
        """The mean, NaN where nothing finite came."""
        return self.total / self.count if self.count else math.nan


@dataclass(slots=True)
class _Step:
    began_ns: int
    channels: list[Spread] = field(default_factory=list)


class LastSecond:
    """The values of all channels in the last second, in steps of a tenth."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque()

    def add(self, channels: Sequence[Sequence[float]], now_ns: int) -> None:
        """Take the newest values of each channel, at least one each. Another count of channels begins anew."""
        steps = self._steps
        if steps and len(steps[-1].channels) != len(channels):
            steps.clear()
        if not steps or now_ns - steps[-1].began_ns >= _STEP_NS:
            steps.append(_Step(now_ns, [Spread() for _ in channels]))
        for spread, values in zip(steps[-1].channels, channels):
            spread.take(values)
        self._forget(now_ns)

    def spreads(self, now_ns: int) -> list[Spread]:
        """Give the values of each channel; where nothing came in the last second, of the step before; nothing where none ever did."""
        self._forget(now_ns)
        if not self._steps:
            return []
        together = [Spread() for _ in self._steps[0].channels]
        for step in self._steps:
            for spread, later in zip(together, step.channels):
                spread.join(later)
        return together

    def clear(self) -> None:
        """Forget all values."""
        self._steps.clear()

    def _forget(self, now_ns: int) -> None:
        while len(self._steps) > 1 and self._steps[0].began_ns < now_ns - _S:
            self._steps.popleft()
