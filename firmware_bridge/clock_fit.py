"""The host's time of a firmware's ticks: offset and drift, from when its frames came.

A frame comes late by USB, scheduling and its own length, never early. So the true time of ticks runs below all
arrivals, at the distance of the least delay:

- drift: the slope of the line under the earliest arrivals of the last five minutes
- offset: the earliest of them, by that slope; an old one says a little less of now than a new one
- the least delay: TIME exchanges say how late the line is, as in NTP. What is left is half of what the least delays up
  and down differ by. Without exchanges all times are late by the least delay of a block.

An arrival that is too early to be true, by a wrong tick or a host's clock, is rejected and counted. When nothing else
comes for five seconds, or nothing but very late ones for ten, then ticks or clock have jumped, and the offset is learned
anew. Per arrival the work is a few comparisons; the line is drawn anew once a second.
"""

from __future__ import annotations

import math
from statistics import median

from firmware_bridge.earliest import Earliest
from firmware_bridge.exchanges import Exchanges
from firmware_bridge.hull import Point, slope_under
from firmware_bridge.outliers import FEW, below_the_rest

_NS = 1_000_000_000
_WRAP = 1 << 32

_WINDOW_NS = 300 * _NS
_REFIT_NS = _NS
_LEARNING_NS = 3 * _NS  # arrivals of less say nothing of drift
_LEARNING_AGAIN_NS = 30 * _NS  # and less than what was learned before a jump

_WORST_DRIFT = 0.03  # RC oscillators have 2 %; with more, no UART works
_DRIFT_CHANGE = 20e-6  # how far a crystal's drift may be from what it was, while nothing is heard
_AGING = 5e-6  # by so much of its age an earliest arrival says less of now

_EARLY_LEARNING_NS = 100e6
_EARLY_NS = 5e6  # who is early by less is judged when the line is drawn, beside others
_EARLY_IN_LINE_NS = 300e3
_LATE_NS = 250e6
_EARLY_FOR_NS = 5 * _NS
_LATE_FOR_NS = 10 * _NS


class ClockFit:
    """One firmware's tick counter against the host's monotonic clock; `tick_hz` is what the firmware says of it.

    tick_ns      how long a tick lasts
    accuracy_ns  how wrong `at` can be once it has learned: half of the quickest question and answer. None without
                 exchanges, all times are late then by the least delay of a block, which nobody knows
    rejected     arrivals and exchanges that cannot be true
    resets       times that ticks or clock had jumped
    """

    def __init__(self, tick_hz: float) -> None:
        self._nominal = _NS / tick_hz
        self.rejected = 0
        self.resets = 0
        self.reset()

    def reset(self) -> None:
        """Forget all that was learned: the firmware restarted."""
        self.tick_ns = self._nominal
        self._begin(_LEARNING_NS)

    def _begin(self, learning_ns: int) -> None:
        """Learn the offset anew, and the drift after `learning_ns`."""
        self.accuracy_ns: float | None = None
        self._newest: tuple[int, int] | None = None  # most ticks of all that came and can be true, and when they came
        self._learning_ns = learning_ns
        self._earliest = Earliest()
        self._exchanges = Exchanges()
        self._x = self._y = 0  # ticks and host time of one point of the line
        self._correction = 0  # what exchanges say is to be added to the line
        self._begun_ns = self._fitted_ns = 0
        self._gate = _EARLY_LEARNING_NS  # who is earlier than that cannot be true
        self._drift_error = _WORST_DRIFT
        self._early_since = self._late_since = 0  # since when all that came was too early, or very late; 0: not all was

    @property
    def drift_ppm(self) -> float:
        """How much faster than nominal the firmware's clock runs, in millionths; 0 until it is known."""
        return (self._nominal / self.tick_ns - 1) * 1e6

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
        silent = (now_ns - came_ns) / self.tick_ns
        if silent > _WRAP / 2:
            step += round((silent - step) / _WRAP) * _WRAP
        return ticks + step

    def arrived(self, ticks: int, now_ns: int) -> bool:
        """Note that a frame stamped `ticks`, unwrapped, was received at `now_ns`; False where that is too early to be true."""
        if self._earliest.points and self._is_too_early(ticks, now_ns):
            self.rejected += 1
            return False
        if not self._earliest.points:
            self._x, self._y = ticks, now_ns
            self._begun_ns = self._fitted_ns = now_ns
        if self._newest is None or ticks > self._newest[0]:
            self._newest = (ticks, now_ns)
        self._earliest.add(ticks, now_ns, self.tick_ns)
        if now_ns - self._fitted_ns > min(_REFIT_NS, (now_ns - self._begun_ns) // 8):
            self._fitted_ns = now_ns
            self._draw(now_ns)
        return True

    def exchanged(self, sent_ns: int, ticks_in: int, ticks_out: int, came_ns: int) -> None:
        """Note a TIME exchange: when the question was sent, its ticks in and out, unwrapped, and when the answer came."""
        if not self._exchanges.add(sent_ns, ticks_in, ticks_out, came_ns, self.tick_ns):
            self.rejected += 1
        elif self._newest is None or ticks_out > self._newest[0]:
            self._newest = (ticks_out, came_ns)

    def at(self, ticks: int) -> int:
        """Give the host's monotonic ns of a tick, unwrapped. Means nothing before the first `arrived`."""
        return self._line(ticks) + self._correction

    def _line(self, ticks: int) -> int:
        return self._y + round((ticks - self._x) * self.tick_ns)

    def _is_too_early(self, ticks: int, now_ns: int) -> bool:
        """Say whether an arrival is too early to be true; learn anew where all were, or all very late, for seconds."""
        late = now_ns - self._line(ticks)
        unsure = self._drift_error * (now_ns - self._fitted_ns)
        if -self._gate - unsure < late < _LATE_NS + unsure:
            self._early_since = self._late_since = 0
            return False
        if late < 0:
            self._early_since, self._late_since = self._early_since or now_ns, 0
            if now_ns - self._early_since < _EARLY_FOR_NS:
                return True
        else:
            self._early_since, self._late_since = 0, self._late_since or now_ns
            if now_ns - self._late_since < _LATE_FOR_NS:
                return False
        self.resets += 1
        self._begin(_LEARNING_AGAIN_NS)
        return False

    def _draw(self, now_ns: int) -> None:
        """Draw the line anew under the earliest arrivals."""
        self._earliest.forget_before(now_ns - _WINDOW_NS)
        points = self._before_newest()
        slope = 0.0
        if now_ns - self._begun_ns >= self._learning_ns and len(points) > 3:
            wrong = below_the_rest(points, _EARLY_IN_LINE_NS)
            if any(wrong):
                self.rejected += sum(wrong)
                self._earliest.drop(wrong)
                points = self._before_newest()
            slope = slope_under(points)
            if abs((1 + slope) * self.tick_ns / self._nominal - 1) > _WORST_DRIFT:
                slope = 0.0  # a few late arrivals
            self._be_as_sure_as([late - slope * sent for sent, late in points], -points[0][0])
        self._x, self._y = self._earliest.points[-1]
        self._y += round(min(late - (slope + _AGING) * sent for sent, late in points))
        self.tick_ns *= 1 + slope
        self._ask_exchanges(now_ns)

    def _before_newest(self) -> list[Point]:
        """Give the earliest arrivals as (ns by ticks, ns later than those), from the newest: small numbers are exact ones."""
        x, y = self._earliest.points[-1]
        return [(sent := (ticks - x) * self.tick_ns, came_ns - y - sent) for ticks, came_ns in self._earliest.points]

    def _be_as_sure_as(self, late: list[float], span_ns: float) -> None:
        """Set how early is too early by how late the earliest arrivals of `span_ns` are above the line."""
        spread = median(late) - min(late)
        self._drift_error = min(_WORST_DRIFT, _DRIFT_CHANGE + 4 * spread / span_ns)
        self._gate = max(_EARLY_NS, 8 * spread) if len(late) >= FEW else _EARLY_LEARNING_NS

    def _ask_exchanges(self, now_ns: int) -> None:
        """Put the line right by what TIME exchanges say."""
        # The line holds as far back as its points go; at first it holds for all, even for what came before there was a line.
        since = self._earliest.points[0][0] if now_ns - self._begun_ns > _WINDOW_NS else -math.inf
        correction = self._exchanges.correction(self._line, since)
        if correction is not None:
            self._correction = round(correction)
            self.accuracy_ns = self._exchanges.accuracy_ns(self.tick_ns)
