"""The earliest arrival of each second, for some minutes: what is left of a stream's arrivals to fit a line under.

A second has thousands of arrivals, and the latest say nothing. At first, a bucket is an eighth of a second, so that there
is something to fit soon; they are joined by twos when there are too many.
"""

from __future__ import annotations

from collections.abc import Collection

_NS = 1_000_000_000
_MOST = 300
_FIRST_WIDTH_NS = _NS // 8
_LAST_WIDTH_NS = _NS


class Earliest:
    """(ticks, host ns) of the earliest arrival in each bucket of time; at most 300 buckets, of one second in the end."""

    def __init__(self) -> None:
        self.points: list[tuple[int, int]] = []
        self._width = _FIRST_WIDTH_NS

    def add(self, ticks: int, came_ns: int, tick_ns: float) -> None:
        """Add an arrival, of more ticks than the ones before; one tick lasts about `tick_ns`."""
        points = self.points
        if not points:
            points.append((ticks, came_ns))
            return
        x, y = points[-1]
        if ticks <= x:
            return
        if came_ns // self._width != y // self._width:
            points.append((ticks, came_ns))
            if len(points) > _MOST:
                self._shorten(tick_ns)
        elif came_ns - y < (ticks - x) * tick_ns:
            points[-1] = (ticks, came_ns)

    def forget(self, places: Collection[int]) -> None:
        """Forget the points at these places."""
        if places:
            self.points = [point for place, point in enumerate(self.points) if place not in places]

    def forget_before(self, came_ns: int) -> None:
        """Forget what came before `came_ns`, but for the last point."""
        points = self.points
        if points[0][1] < came_ns:
            self.points = [point for point in points if point[1] >= came_ns] or points[-1:]

    def _shorten(self, tick_ns: float) -> None:
        """Make room: join buckets by twos while they are short, then drop the oldest."""
        if self._width >= _LAST_WIDTH_NS:
            del self.points[0]
            return
        self._width *= 2
        points, self.points = self.points, []
        for ticks, came_ns in points:
            self.add(ticks, came_ns, tick_ns)
