"""The line under the earliest arrivals: which host time a tick has, late by the least delay.

Points are the earliest arrivals of each second in the last five minutes. Left out are those that are alone too early
to be true, and those of a time when all were late, as on a busy host: such a time would bend the line. When the least
delay has become shorter for good, it is the older points that are late, and the drift that is known is kept until
there are new ones over half a minute.
"""

from __future__ import annotations

from firmware_bridge.earliest import Earliest
from firmware_bridge.hull import Point, slope_along, slope_under
from firmware_bridge.outliers import FEW, alone_below, scatter

_NS = 1_000_000_000
WINDOW_NS = 300 * _NS
_LEAST_SPAN_NS = 3 * _NS  # arrivals over less say nothing of drift,
_SPAN_NS = 30 * _NS  # and over less than this nothing better than what is known

_WORST_DRIFT = 0.03  # RC oscillators have 2 %; with more, no UART works
_DRIFT_CHANGE = 20e-6  # how far a crystal's drift may be from what it was, while nothing is heard,
_DRIFT_CHANGE_HEARD = 2e-6  # and within the five minutes
_AGING = 5e-6  # by so much of its age an earliest arrival says less of now

_LEARNING_GATES_NS = (-100e6, 250e6)
_LEAST_GATES_NS = (-5e6, 1e6)
_GATE = 2  # times the scatter of points
_ALONE_NS = 300e3  # nobody is alone too early by less

_RECENT = 2 * FEW  # points that a new one is compared with
_WAITING = FEW // 2  # points that may still get company

EARLY, SOUND, LATE = -1, 0, 1


class Line:
    """Host time by ticks. `nominal_ns` is how long a tick should last, `tick_ns` how long it does, as far as is known."""

    def __init__(self, nominal_ns: float) -> None:
        self._nominal = nominal_ns
        self.tick_ns = nominal_ns
        self._known_ns = 0.0  # over how long the drift was learned
        self._drift_error = _WORST_DRIFT
        self._scatter: float | None = None  # how far points are from their middle at most, but for rare ones
        self.begin()

    def begin(self) -> None:
        """Forget all points: ticks or clock have jumped. What is known of drift is kept."""
        self._earliest = Earliest()
        self._x = self._y = 0  # ticks and host time of one point of the line
        self._drawn_ns = 0
        self._gates = _LEARNING_GATES_NS

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added yet: there is no line then."""
        return not self._earliest.points

    @property
    def newest(self) -> int:
        """The ticks of the newest point."""
        return self._earliest.points[-1][0]

    def at(self, ticks: int) -> int:
        """Give the host's ns of a tick, late by the least delay."""
        return self._y + round((ticks - self._x) * self.tick_ns)

    def judge(self, ticks: int, came_ns: int) -> int:
        """Say whether an arrival is EARLY, too much to be true, LATE, too much to say anything, or SOUND."""
        late = came_ns - self.at(ticks)
        unsure = max(self._drift_error, _DRIFT_CHANGE) * (came_ns - self._drawn_ns)
        least, most = self._gates
        return EARLY if late < least - unsure else LATE if late > most + unsure else SOUND

    def add(self, ticks: int, came_ns: int) -> None:
        """Add an arrival that is sound. The first one is the line until it is drawn."""
        if self.is_empty:
            self._x, self._y, self._drawn_ns = ticks, came_ns, came_ns
        self._earliest.add(ticks, came_ns, self.tick_ns)

    def draw(self, now_ns: int) -> int:
        """Draw the line anew; give how many points were found to be wrong, which are forgotten."""
        self._drawn_ns = now_ns
        self._earliest.forget_before(now_ns - WINDOW_NS)
        points = self._before_newest()
        alone = self._alone(points)
        wrong = [place for place in alone if self._scatter is None or place < len(points) - _WAITING]
        points = [point for place, point in enumerate(points) if place not in alone]
        least = min(late for _, late in points)
        points = [(sent, late) for sent, late in points if late - least <= self._gates[1] - self._drift_error * sent]
        slope = self._learn_drift(points)
        self._x, self._y = self._earliest.points[-1]
        self._y += round(min(late - (slope + _AGING) * sent for sent, late in points))
        self.tick_ns *= 1 + slope
        self._earliest.forget(wrong)
        return len(wrong)

    def _before_newest(self) -> list[Point]:
        """Give all points as (ns by ticks, ns later than those), from the newest: small numbers are exact ones."""
        x, y = self._earliest.points[-1]
        return [(sent := (ticks - x) * self.tick_ns, came_ns - y - sent) for ticks, came_ns in self._earliest.points]

    def _alone(self, points: list[Point]) -> list[int]:
        """Give the places of newer points that are too early to be true as long as they are alone; at first, of all points."""
        recent = points[-_RECENT:]
        if len(recent) < FEW:
            return []
        if self._scatter is None:
            slope = slope_along(recent)
            delays = [late - slope * sent for sent, late in recent]
            far, judged = scatter(delays), len(recent)
        else:
            delays = [late for _, late in recent]
            far, judged = self._scatter, FEW
        alone = alone_below(delays, max(_ALONE_NS, far))[-judged:]
        return [place for place, is_alone in enumerate(alone, len(points) - judged) if is_alone]

    def _learn_drift(self, points: list[Point]) -> float:
        """Give by how much a tick is longer than it was thought to be, as a part of it; 0 while the points say nothing better."""
        span = points[-1][0] - points[0][0]
        slope = 0.0
        if len(points) > 3 and span >= max(_LEAST_SPAN_NS, min(self._known_ns, _SPAN_NS)):
            slope = slope_under(points)
            if abs((1 + slope) * self.tick_ns / self._nominal - 1) > _WORST_DRIFT:
                return 0.0  # a few late arrivals
            self._known_ns = span
            if len(points) >= FEW:
                late = [late - slope * sent for sent, late in points]
                self._scatter = scatter(late)
                self._drift_error = min(_WORST_DRIFT, _DRIFT_CHANGE_HEARD + self._scatter / span)
        if self._scatter is not None and len(points) >= FEW:
            least, most = _LEAST_GATES_NS
            self._gates = min(least, -_GATE * self._scatter), max(most, _GATE * self._scatter)
        return slope
