"""When the readings of each block were taken.

Plain first version: spread evenly between the last reading of the block before and its own last.
"""

from __future__ import annotations

from firmware_bridge.clock_fit import ClockFit

_WRAP = 1 << 32
_NS = 1_000_000_000


class Stamps:
    """When each block's readings were taken."""

    def __init__(self, tick_hz: float, rate_hz: float) -> None:
        self.fit = ClockFit(tick_hz)
        self.jumps = 0
        self._period = tick_hz / rate_hz
        self._tick: int | None = None
        self._ticks = 0
        self._last_ns = 0

    @property
    def period_ns(self) -> float:
        """Measured time between readings."""
        return self._period * _NS / self.fit.tick_hz

    def goes_back(self, tick: int) -> bool:
        """Say whether a u32 tick is before that of the block before."""
        return self._tick is not None and (tick - self._tick) % _WRAP >= _WRAP // 2

    def block(self, tick: int, count: int, follows: bool, now_ns: int) -> tuple[int, int]:
        """Give host monotonic ns of the first and the last of `count` readings; `tick` is that of the last."""
        ticks = self.fit.unwrap(tick, now_ns)
        self.fit.arrived(ticks, now_ns)
        last = self.fit.at(ticks)
        step = self.period_ns
        if self._tick is not None:
            last = max(last, self._last_ns + count)
            readings = (ticks - self._ticks) / self._period
            if follows and abs(readings - count) < 0.5 + 0.1 * count:
                self._period += ((ticks - self._ticks) / count - self._period) * 0.05
                step = (last - self._last_ns) / count
        first = last - round((count - 1) * step)
        if self._tick is not None and first <= self._last_ns:
            first = self._last_ns + max(1, (last - self._last_ns) // count)
        self._tick, self._ticks, self._last_ns = tick, ticks, last
        return first, last
