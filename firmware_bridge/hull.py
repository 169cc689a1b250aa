"""The line under all points that is nearest to them.

Packets come late, never early, so the true relation of two clocks runs along the lower edge of (sent, received):
Moon, Skelly and Towsley, "Estimation and removal of clock skew from network delay measurements", 1999.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def line_under(points: Sequence[Point]) -> tuple[float, float]:
    """Give (slope, height at x = 0) of the line under all points with the least sum of distances.

    The points are at least two, their x rises. It is the edge of the lower hull under the middle of all x.
    """
    hull = lower_hull(points)
    middle = sum(x for x, _ in points) / len(points)
    at = next(i for i in range(1, len(hull)) if hull[i][0] >= middle or i == len(hull) - 1)
    (ax, ay), (bx, by) = hull[at - 1], hull[at]
    slope = (by - ay) / (bx - ax)
    return slope, ay - slope * ax
