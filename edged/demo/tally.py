"""What the demo knows of each sensor: what was sent, what came back, and whether it is right.

The sender's thread and the connection's thread write, the screen reads; a lock keeps one
result's numbers together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

import msgspec

from edged.clock import MS
from edged.demo.sensor import Sensor
from edged.histogram import Histogram

# Readings whose moment of sending is remembered: results come long before so many more are sent.
_REMEMBERED = 4096


class _Output(msgspec.Struct):
    label: str
    score: float


class _Window(msgspec.Struct):
    end: datetime
    samples: int


class _Timing(msgspec.Struct):
    total_ms: float


class _Result(msgspec.Struct):
    """The part of a result that the demo looks at."""

    labels: dict[str, str]
    window: _Window
    output: _Output
    timing: _Timing


@dataclass
class Tally:
    """One sensor's numbers.

    `judged` counts windows within one activity, `agreed` those of them with the right label.
    `right` is about the last window; None: it was not judged. `latency` is from the sending of a
    window's last reading to its result here, `inside` the daemon's own part of it.
    """

    name: str
    activity: str = ""
    sent: int = 0
    windows: int = 0
    label: str = ""
    score: float = 0.0
    right: bool | None = None
    judged: int = 0
    agreed: int = 0
    latency: Histogram = field(default_factory=Histogram)
    inside: Histogram = field(default_factory=Histogram)


class Scoreboard:
    """The tallies of all sensors, in their order."""

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self.tallies = [Tally(sensor.name, sensor.activity(0)) for sensor in sensors]
        self._sensors = {sensor.name: (sensor, tally) for sensor, tally in zip(sensors, self.tallies)}
        self._sent_at: dict[str, list[tuple[int, int]]] = {sensor.name: [(-1, 0)] * _REMEMBERED for sensor in sensors}
        self._lock = Lock()

    def note_sent(self, name: str, number: int, mono_ns: int) -> None:
        """Note that reading `number` of a sensor goes out now."""
        sensor, tally = self._sensors[name]
        self._sent_at[name][number % _REMEMBERED] = number, mono_ns
        tally.sent, tally.activity = number + 1, sensor.activity(number)

    def take(self, payload: bytes, mono_ns: int) -> None:
        """Count a result that came in; what is not a result of one of our sensors is passed over."""
        try:
            result = msgspec.json.decode(payload, type=_Result)
            sensor, tally = self._sensors[result.labels["sensor"]]
            last = sensor.number_at(round(result.window.end.timestamp() * 1000))
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, OverflowError):
            return
        truth = sensor.activity_of(last - result.window.samples + 1, last) if 0 < result.window.samples <= last + 1 else ""
        with self._lock:
            self._judge(tally, result.output, truth)
            number, sent_ns = self._sent_at[tally.name][last % _REMEMBERED]
            if number == last:
                tally.latency.record((mono_ns - sent_ns) / MS)
                tally.inside.record(result.timing.total_ms)

    def total(self) -> Tally:
        """Give the sum of all sensors; its `activity` and `label` are empty."""
        total = Tally("all")
        with self._lock:
            for tally in self.tallies:
                total.sent += tally.sent
                total.windows += tally.windows
                total.judged += tally.judged
                total.agreed += tally.agreed
                total.latency.merge(tally.latency)
                total.inside.merge(tally.inside)
        return total

    @staticmethod
    def _judge(tally: Tally, output: _Output, truth: str) -> None:
        tally.windows += 1
        tally.label, tally.score = output.label, output.score
        tally.right = output.label == truth if truth else None
        tally.judged += tally.right is not None
        tally.agreed += tally.right is True
