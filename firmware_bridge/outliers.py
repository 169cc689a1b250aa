"""Delays that are too short to be true.

A late packet harms no line that is drawn under all of them; one that seems early, by a wrong tick or a host's clock, would
turn it. Medians find those, since a quarter of wrong ones cannot move them.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from firmware_bridge.hull import Point

FEW = 16  # fewer have no medians to speak of
_RECENT = 2 * FEW
# Delays have a long tail above, but not below: the least of them is rarely two such deviations from their median.
_DEVIATIONS = 6.0


def too_short(delays: Sequence[float], floor: float) -> list[bool]:
    """Say of each delay whether it is too short to be true: far below the median, by more than `floor` at least."""
    if len(delays) < FEW:
        return [False] * len(delays)
    middle = median(delays)
    far = max(floor, _DEVIATIONS * median(abs(delay - middle) for delay in delays))
    return [middle - delay > far for delay in delays]


def below_the_rest(points: Sequence[Point], floor: float) -> list[bool]:
    """Say of each point whether it is too far below the line along the others to be true. x rises.

    Only the last 32 are judged, so that a drift that changes is not taken for many wrong points: call it with each new one.
    """
    recent = points[-_RECENT:]
    if len(recent) < FEW:
        return [False] * len(points)
    slope = _slope_along(recent)
    return [False] * (len(points) - len(recent)) + too_short([y - slope * x for x, y in recent], floor)


def _slope_along(points: Sequence[Point]) -> float:
    """Give the slope of most points: the median over pairs that lie half of all points apart."""
    pairs = zip(points, points[len(points) // 2 :])
    return median((by - ay) / (bx - ax) for (ax, ay), (bx, by) in pairs)
