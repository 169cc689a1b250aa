"""When the readings of each block were taken, by the tick of its last one.

Readings are spread evenly from the last one of the block before. Where more time passed than they need by the
measured rate, readings were lost, on the line or inside the firmware: the block stands alone then, counted back from
its own tick, and the hole before it is as long as it was.

The fit of ticks to the host's time gets better all the time, and each time its times move. Times that are given out do
not jump with it: they follow by at most 1 % of a block, so that no reader takes a correction for a gap or a doubled
reading. Only what is off by more than half a second is put right at once, and counted in `jumps`.
"""

from __future__ import annotations

from firmware_bridge.clock_fit import ClockFit
from firmware_bridge.pace import Pace

_WRAP = 1 << 32
_NS = 1_000_000_000

_SLEW = 0.01  # of a block's own time
_SLEW_IN_HOLE = 0.1  # of the time that is missing
_JUMP_NS = _NS // 2
_EVEN = 0.15  # ticks that differ from the measured rate by more are no measure of one block's time,
_UNEVEN_FOR = 32  # and so many blocks after it only keep near to their ticks, at the measured rate


class Stamps:
    """One firmware's blocks; `tick_hz` and `rate_hz` are what it says of itself.

    fit    its clock against the host's; TIME exchanges are to be told to it
    jumps  times that more than half a second was put right at once
    wrong  blocks whose tick was not believed
    """

    def __init__(self, tick_hz: float, rate_hz: float) -> None:
        self.fit = ClockFit(tick_hz)
        self.jumps = 0
        self.wrong = 0
        self._pace = Pace(tick_hz / rate_hz)
        self._second = round(tick_hz)
        self._last_ns: int | None = None  # the time of the last reading, as it was given out
        self._came_ns = 0
        self._uneven = 0  # so many blocks are still not timed by their own ticks alone
        self._ticks = 0  # unwrapped, of the last block that was believed
        self._timed = False  # they say how much time passes until the next block

    @property
    def period_ns(self) -> float:
        """The measured time from reading to reading."""
        return self._pace.period * self.fit.tick_ns

    def goes_back(self, tick: int) -> bool:
        """Say whether a u32 tick is before that of the last block: the firmware began anew.

        After a long silence only answers to TIME tell that from a tick that has wrapped.
        """
        newest = self.fit.newest
        if self._last_ns is None or newest is None:
            return False
        if newest - self._ticks < _WRAP // 4:
            return _is_before(tick, self._ticks)
        return _is_before(tick, newest - self._second)

    def block(self, tick: int, count: int, follows: bool, now_ns: int) -> tuple[int, int]:
        """Give the host's monotonic ns of the first and the last of a block's readings.

        tick     u32, that of the last reading
        count    readings, at least 1
        follows  no frame is missing before this block's
        now_ns   the host's monotonic ns when it came

        Times rise strictly from block to block, but where `jumps` counts one back.
        """
        resets = self.fit.resets
        ticks = self.fit.unwrap(tick, now_ns)
        believed = self.fit.arrived(ticks, now_ns) and (self._last_ns is None or ticks >= self._ticks)
        if self.fit.resets > resets:
            believed = True
        self.wrong += not believed
        if self._last_ns is None:
            first, last = self._alone(self.fit.at(ticks), count)
        elif believed:
            first, last = self._by_tick(self._last_ns, ticks, count, follows)
        else:
            first, last = self._by_arrival(self._last_ns, count, 0 if follows else now_ns - self._came_ns)
        self._ticks, self._timed = (ticks, True) if believed else (self._ticks, False)
        self._last_ns, self._came_ns = last, now_ns
        return first, last

    def _by_tick(self, before_ns: int, ticks: int, count: int, follows: bool) -> tuple[int, int]:
        """Place a block after the one before, whose last reading was given out as of `before_ns`, by its tick."""
        true_ns = self.fit.at(ticks)
        wanted = true_ns - before_ns
        even = count * self.period_ns
        own = (ticks - self._ticks) * self.fit.tick_ns if self._timed else even if follows else max(wanted, even)
        lag = wanted - own
        missing = self._pace.misses(own / self.fit.tick_ns, count)
        if follows and self._timed:
            self._pace.learn(ticks - self._ticks, count)
        if abs(lag) > _JUMP_NS:
            self.jumps += 1
            return self._alone(true_ns, count)
        if missing:
            return self._alone(before_ns + round(own + _within(lag, _SLEW_IN_HOLE * (own - even))), count)
        if abs(own - even) > _EVEN * even:
            self._uneven = _UNEVEN_FOR
        elif not self._uneven:
            return _spread(before_ns, own + _within(lag, _SLEW * even), count)
        self._uneven -= 1
        return _spread(before_ns, even + _within(wanted - even, _EVEN * even), count)

    def _by_arrival(self, before_ns: int, count: int, passed_ns: int) -> tuple[int, int]:
        """Place a block whose tick is not believed: by the measured rate, or by what passed since the last arrival if that is more."""
        even = count * self.period_ns
        if self._pace.misses(passed_ns / self.fit.tick_ns, count):
            return self._alone(before_ns + passed_ns, count)
        return _spread(before_ns, even, count)

    def _alone(self, last_ns: int, count: int) -> tuple[int, int]:
        """Count a block's readings back from its last."""
        return last_ns - round((count - 1) * self.period_ns), last_ns


def _spread(before_ns: int, span_ns: float, count: int) -> tuple[int, int]:
    """Spread readings evenly over the time since the one before them; a nanosecond each, at least."""
    span = max(round(span_ns), count)
    return before_ns + span // count, before_ns + span


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _is_before(tick: int, other: int) -> bool:
    """Say whether one tick, wrapped or not, is before another, by less than half a wrap."""
    return (tick - other) % _WRAP >= _WRAP // 2
