"""Host time of a firmware's ticks: offset and drift from when its frames came.

Plain first version: the line under the earliest arrivals, halved delay by TIME exchanges.
"""

from __future__ import annotations

from firmware_bridge.hull import line_under

_WRAP = 1 << 32
_NS = 1_000_000_000
_WINDOW_NS = 300 * _NS
_BUCKET_NS = _NS
_LEARN_NS = 3 * _NS


class ClockFit:
    """Offset and drift of one firmware's tick counter against the host's monotonic clock."""

    def __init__(self, tick_hz: float) -> None:
        self.tick_hz = tick_hz
        self._nominal = _NS / tick_hz
        self.rejected = 0
        self.resets = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything: the firmware restarted."""
        self.accuracy_ns: float | None = None
        self._slope = self._nominal
        self._x = self._y = 0
        self._ref: tuple[int, int] | None = None
        self._points: list[tuple[int, int]] = []
        self._exchanges: list[tuple[int, int, int, int]] = []
        self._half = 0.0
        self._fitted = 0

    @property
    def drift_ppm(self) -> float:
        """How much slower than nominal the firmware's ticks are, in millionths."""
        return (self._slope / self._nominal - 1) * 1e6

    def unwrap(self, tick: int, now_ns: int) -> int:
        """Give a u32 tick as ticks that do not wrap."""
        if self._ref is None:
            self._ref = (tick, now_ns)
            return tick
        ticks, came = self._ref
        step = ((tick - ticks + _WRAP // 2) % _WRAP) - _WRAP // 2
        silent = (now_ns - came) / self._slope
        if silent > _WRAP / 2:
            step += round((silent - step) / _WRAP) * _WRAP
        return ticks + step

    def arrived(self, ticks: int, now_ns: int) -> None:
        """Note that a frame stamped `ticks` was received at `now_ns`."""
        self._ref = (ticks, now_ns)
        if not self._points:
            self._x, self._y = ticks, now_ns
            self._points.append((ticks, now_ns))
            return
        x, y = self._points[-1]
        if now_ns // _BUCKET_NS != y // _BUCKET_NS:
            self._points.append((ticks, now_ns))
        elif now_ns - y < (ticks - x) * self._slope:
            self._points[-1] = (ticks, now_ns)
        if now_ns < self._y + self._slope * (ticks - self._x):
            self._x, self._y = ticks, now_ns
        if now_ns - self._fitted > _NS:
            self._fit(now_ns)

    def exchanged(self, sent_ns: int, ticks_in: int, ticks_out: int, came_ns: int) -> None:
        """Note one TIME exchange."""
        self._exchanges = [*self._exchanges[-127:], (sent_ns, ticks_in, ticks_out, came_ns)]

    def at(self, ticks: int) -> int:
        """Give the host's monotonic ns of a tick."""
        return self._y + round(self._slope * (ticks - self._x) + self._half)

    def _fit(self, now_ns: int) -> None:
        self._fitted = now_ns
        self._points = [point for point in self._points if now_ns - point[1] < _WINDOW_NS]
        x, y = self._points[-1]
        if now_ns - self._points[0][1] > _LEARN_NS and len(self._points) > 2:
            slope, height = line_under([(float(a - x), float(b - y)) for a, b in self._points])
            self._slope, self._x, self._y = slope, x, y + round(height)
        if self._exchanges:
            up = min(came - self._line(out) for _, _, out, came in self._exchanges)
            down = min(self._line(into) - sent for sent, into, _, _ in self._exchanges)
            self._half = (up - down) / 2
            self.accuracy_ns = (up + down) / 2

    def _line(self, ticks: int) -> float:
        return self._y + self._slope * (ticks - self._x)
