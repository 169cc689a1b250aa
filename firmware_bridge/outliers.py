"""Delays that are too short to be true.

A late packet harms no line that is drawn under all of them; one that seems early, by a wrong tick or a host's clock, would
turn it. It stands alone: where packets have truly become quicker, others are as quick.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import median

FEW = 16  # fewer tell nothing of each other
_COMPANY = 3
# Delays have a long tail above, but not below: the least of them is rarely two such deviations from their median.
_DEVIATIONS = 6.0


def scatter(values: Sequence[float]) -> float:
    """Give how far values are from their median at most, but for rare ones; a quarter of wrong ones does not change it much."""
    middle = median(values)
    return _DEVIATIONS * median(abs(value - middle) for value in values)


def too_short(delays: Sequence[float], floor: float) -> list[bool]:
    """Say of each delay whether it is too short to be true: far below the median, by `floor` at least."""
    if len(delays) < FEW:
        return [False] * len(delays)
    least = median(delays) - max(floor, scatter(delays))
    return [delay < least for delay in delays]


def alone_below(delays: Sequence[float], far: float) -> list[bool]:
    """Say of each delay whether it is below the middle, and alone: fewer than three others differ from it by `far` or less."""
    order = sorted(delays)
    middle = median(order)
    return [delay < middle and bisect_right(order, delay + far) - bisect_left(order, delay - far) <= _COMPANY for delay in delays]
