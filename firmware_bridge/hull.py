"""Slopes of lines along and under points that come late, never early.

A packet may be late by any time but is never early, so the true relation of two clocks runs along the lower edge of
(sent, received): Moon, Skelly and Towsley, "Estimation and removal of clock skew from network delay measurements", 1999.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

Point = tuple[float, float]


def lower_hull(points: Sequence[Point]) -> list[Point]:
    """Give the lower convex hull, left to right, of points whose x rises."""
    hull: list[Point] = []
    for x, y in points:
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2], hull[-1]
            if (by - ay) * (x - ax) < (y - ay) * (bx - ax):
                break
            hull.pop()
        hull.append((x, y))
    return hull


def slope_under(points: Sequence[Point]) -> float:
    """Give the slope of the line under all points with the least sum of distances; at least two points, whose x rises.

    It is that of the edge of the lower hull which crosses the mean of all x.
    """
    hull = lower_hull(points)
    middle = sum(x for x, _ in points) / len(points)
    right = next((i for i in range(1, len(hull)) if hull[i][0] >= middle), len(hull) - 1)
    (ax, ay), (bx, by) = hull[right - 1], hull[right]
    return (by - ay) / (bx - ax)


def slope_along(points: Sequence[Point]) -> float:
    """Give the slope that most points keep to, as long as no more than a quarter are wrong; at least two points, whose x rises.

    It is the median over pairs of points that lie half of all points apart.
    """
    pairs = zip(points, points[len(points) // 2 :])
    return median((by - ay) / (bx - ax) for (ax, ay), (bx, by) in pairs)
