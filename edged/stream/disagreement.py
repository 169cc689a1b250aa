"""How often two models disagree on the same streams: which of their verdicts belong together, and whether they say the same.

Pure: no clock, no I/O, no thread.

    classify       another label
    anomaly        another flag
    regress        a value that differs by more than SHARE of that value's range at the live model
    embed          a component that differs by more than SHARE of the range of all components at the live model
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.stream.seen import Seen
from edged.stream.streams import Name

SHARE = 0.05
BLOCK = 32  # numbers are judged so many windows at a time: the range of the first one alone says nothing
NOISE = 1e-5  # of a live number's size: results carry six digits, a difference in the last one is none
REMEMBERED = 1024  # streams whose last live verdict is kept for later batches

_SAYS = {"classify": "label", "anomaly": "anomaly", "regress": "values", "embed": "vector"}
_END = attrgetter("end_ns")


class Standing:
    """The live verdicts that a candidate's are held against: those of the batch under way, and the last one of each stream before it."""

    def __init__(self) -> None:
        self._now: dict[Name, list[Seen]] = {}  # by their end
        self._last: dict[Name, Seen] = {}  # of the batch under way
        self._before: dict[Name, Seen] = {}  # the last of each earlier one, those that came last at the end
        self._given: dict[tuple[Name, int], int] = {}

    def take(self, live: list[Seen]) -> None:
        """Begin a batch that gave the live results `live`, in their order."""
        for name in self._last:
            self._before.pop(name, None)
        self._before.update(self._last)
        while len(self._before) > REMEMBERED:
            del self._before[next(iter(self._before))]
        self._now, self._given = {}, {}
        for each in live:
            self._now.setdefault(each.name, []).append(each)
        # Noted before they are sorted: where the sensor's clock was set back, the last has not the latest end.
        self._last = {name: seen[-1] for name, seen in self._now.items()}
        for seen in self._now.values():
            seen.sort(key=_END)

    def match(self, name: Name, end_ns: int) -> Seen | None:
        """Give the live verdict on the window of stream `name` that ended at `end_ns`, else the newest before it; None where there is none.

        Without event time many windows end at once: asked again, it gives the next of them.
        """
        now = self._now.get(name, [])
        first, last = bisect_left(now, end_ns, key=_END), bisect_right(now, end_ns, key=_END)
        if first < last:
            turn = self._given.get((name, end_ns), 0)
            self._given[name, end_ns] = turn + 1
            return now[min(first + turn, last - 1)]
        if first:
            return now[first - 1]
        before = self._before.get(name)
        return before if before is not None and before.end_ns <= end_ns else None

    def clear(self) -> None:
        """Forget everything: what was live meanwhile is not known."""
        self._now, self._last, self._before, self._given = {}, {}, {}, {}


class Tally:
    """Counts how many outputs of a candidate of `task` were compared with the live model's, and how many disagreed."""

    def __init__(self, task: str) -> None:
        self.compared = 0
        self._differed = 0
        self._says = _SAYS[task]
        self._numbers = _Numbers(each_its_own=task == "regress") if task in ("regress", "embed") else None

    @property
    def disagreed(self) -> int:
        """Count the outputs that disagreed; those judged last may still come out otherwise, as the live range grows."""
        return self._differed + (self._numbers.differed if self._numbers else 0)

    def add(self, live: dict[str, Any], candidate: dict[str, Any]) -> None:
        """Compare two outputs. Those that say nothing of the same kind, or another count of numbers, are passed by."""
        theirs, ours = live.get(self._says), candidate[self._says]
        if theirs is None or (self._numbers and len(theirs) != len(ours)):
            return
        self.compared += 1
        if self._numbers:
            self._numbers.add(np.array(theirs), np.array(ours))
        elif theirs != ours:
            self._differed += 1


class _Numbers:
    """Judges differences of numbers by the range that the live ones had so far; keeps BLOCK windows at most."""

    def __init__(self, each_its_own: bool) -> None:
        self._each_its_own = each_its_own
        self._low: Any = np.inf
        self._high: Any = -np.inf
        self._waiting: list[NDArray[np.float64]] = []
        self._differed = 0

    @property
    def differed(self) -> int:
        return self._differed + self._judged()

    def add(self, live: NDArray[np.float64], candidate: NDArray[np.float64]) -> None:
        self._low = np.minimum(self._low, live if self._each_its_own else live.min())
        self._high = np.maximum(self._high, live if self._each_its_own else live.max())
        self._waiting.append(np.abs(candidate - live))
        if len(self._waiting) == BLOCK:
            self._differed += self._judged()
            self._waiting.clear()

    def _judged(self) -> int:
        if not self._waiting:
            return 0
        size = np.maximum(np.abs(self._low), np.abs(self._high))
        limit = np.maximum(SHARE * (self._high - self._low), NOISE * size)
        return int((np.array(self._waiting) > limit).any(axis=1).sum())
