"""The host's time of a firmware's ticks: offset and drift, from when its frames came.

A frame comes late by USB, scheduling and its own length, never early. So the true time of ticks runs below all
arrivals, at the distance of the least delay: `line` draws that line once a second. By how much it is late, TIME
exchanges say, as in NTP: what is left is half of what the least delays up and down differ by. Without exchanges all times
are late by the least delay of a block.

An arrival that is too early to be true, by a wrong tick or a host's clock, is rejected and counted. When most are for five
seconds, or all are late for twenty, then ticks, clock or delays have jumped, and the offset is learned anew. Per arrival
the work is a few comparisons.
"""

from __future__ import annotations

from firmware_bridge.exchanges import Exchanges
from firmware_bridge.line import EARLY, LATE, SOUND, WINDOW_NS, Line

_NS = 1_000_000_000
_WRAP = 1 << 32

_REDRAW_NS = _NS
_EARLY_FOR_NS = 5 * _NS
_LATE_FOR_NS = 20 * _NS
_ENOUGH = 4  # arrivals, however long it takes


class ClockFit:
    """One firmware's tick counter against the host's monotonic clock; `tick_hz` is what the firmware says of it.

    accuracy_ns  how wrong `at` can be once it has learned: half of the quickest question and answer. None without
                 exchanges, all times are late then by the least delay of a block, which nobody knows
    rejected     arrivals and exchanges that cannot be true
    resets       times that ticks, clock or delays had jumped
    """

    def __init__(self, tick_hz: float) -> None:
        self._nominal = _NS / tick_hz
        self.rejected = 0
        self.resets = 0
        self.reset()

    def reset(self) -> None:
        """Forget all that was learned: the firmware restarted."""
        self._line = Line(self._nominal)
        self._begin()

    def _begin(self) -> None:
        """Learn the offset anew."""
        self.accuracy_ns: float | None = None
        self._line.begin()
        self._exchanges = Exchanges()
        self._correction = 0  # what exchanges say is to be added to the line
        self._newest: tuple[int, int] | None = None  # most ticks of all that came and can be true, and when they came
        self._begun_ns = self._drawn_ns = 0
        self._judged_ns = 0  # since when these were counted:
        self._judged = self._early = 0
        self._late_ns = 0  # since when all that came was late:
        self._late = 0

    @property
    def tick_ns(self) -> float:
        """How long a tick lasts, as far as is known."""
        return self._line.tick_ns

    @property
    def drift_ppm(self) -> float:
        """How much faster than nominal the firmware's clock runs, in millionths; 0 until it is known."""
        return (self._nominal / self._line.tick_ns - 1) * 1e6

    @property
    def newest(self) -> int | None:
        """The most ticks, unwrapped, of all that came and can be true; None before anything came."""
        return None if self._newest is None else self._newest[0]

    def unwrap(self, tick: int, now_ns: int) -> int:
        """Give a u32 tick that came at `now_ns` as ticks that do not wrap. One a little older than the newest gives a little less.

        After a silence of more than half a wrap the host's time says how often it has wrapped.
        """
        if self._newest is None:
            self._newest = (tick, now_ns)
        ticks, came_ns = self._newest
        step = (tick - ticks + _WRAP // 2) % _WRAP - _WRAP // 2
        silent = (now_ns - came_ns) / self._line.tick_ns
        if silent > _WRAP / 2:
            step += round((silent - step) / _WRAP) * _WRAP
        return ticks + step

    def arrived(self, ticks: int, now_ns: int) -> bool:
        """Note that a frame stamped `ticks`, unwrapped, was received at `now_ns`; False where that is too early to be true."""
        line = self._line
        verdict = SOUND if line.is_empty else line.judge(ticks, now_ns)
        if self._has_jumped(verdict, now_ns):
            self.resets += 1
            self._begin()
            verdict = SOUND
        if verdict == EARLY:
            self.rejected += 1
            return False
        if line.is_empty:
            self._begun_ns = self._drawn_ns = self._judged_ns = now_ns
        if self._newest is None or ticks > self._newest[0]:
            self._newest = (ticks, now_ns)
        if verdict == SOUND:
            line.add(ticks, now_ns)
        if now_ns - self._drawn_ns > min(_REDRAW_NS, (now_ns - self._begun_ns) // 8):
            self._drawn_ns = now_ns
            self.rejected += line.draw(now_ns)
            self._ask_exchanges()
        return True

    def exchanged(self, sent_ns: int, ticks_in: int, ticks_out: int, came_ns: int) -> None:
        """Note a TIME exchange: when the question was sent, its ticks in and out, unwrapped, and when the answer came."""
        if not self._exchanges.add(sent_ns, ticks_in, ticks_out, came_ns, self._line.tick_ns):
            self.rejected += 1
        elif self._newest is None or ticks_out > self._newest[0]:
            self._newest = (ticks_out, came_ns)

    def at(self, ticks: int) -> int:
        """Give the host's monotonic ns of a tick, unwrapped. Means nothing before the first `arrived`."""
        return self._line.at(ticks) + self._correction

    def _has_jumped(self, verdict: int, now_ns: int) -> bool:
        """Note an arrival's verdict; say whether most were early, or all late, for so long that it is the line that is wrong."""
        if verdict == LATE:
            self._late += 1
            if self._late == 1:
                self._late_ns = now_ns
            elif self._late >= _ENOUGH and now_ns - self._late_ns > _LATE_FOR_NS:
                return True
        else:
            self._late = 0
        self._judged += 1
        self._early += verdict == EARLY
        if now_ns - self._judged_ns > _EARLY_FOR_NS and self._judged >= _ENOUGH:
            if 2 * self._early > self._judged:
                return True
            self._judged_ns, self._judged, self._early = now_ns, 0, 0
        return False

    def _ask_exchanges(self) -> None:
        """Put the line right by what TIME exchanges say."""
        correction = self._exchanges.correction(self._line.at, self._line.newest - WINDOW_NS / self._line.tick_ns)
        if correction is not None:
            self._correction = round(correction)
            self.accuracy_ns = self._exchanges.accuracy_ns(self._line.tick_ns)
