"""Publish the readings of many sensors, each at its pace, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from threading import Event, Thread

from edged.clock import NS, Clock
from edged.demo.sensor import Sensor

# More unacknowledged messages than this, and the sensors wait: a machine that is too slow for the
# speed asked for gets what it can take, and nothing is dropped.
MOST_WAITING = 256
_LOOK_AGAIN_S = 0.002


class Sender:
    """Sends reading after reading of all sensors until it is stopped; the sensors are spread over the period."""

    def __init__(
        self, sensors: Sequence[Sensor], rate_hz: float, clock: Clock, send: Callable[[Sensor, int], None], waiting: Callable[[], int]
    ) -> None:
        """Prepare. `send` publishes one reading, `waiting` counts messages that the broker has not taken yet."""
        self._sensors = sensors
        self._period_ns = NS / rate_hz
        self._clock = clock
        self._send = send
        self._waiting = waiting
        self._stop = Event()
        self._thread = Thread(target=self._run, name="demo-sensors", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the reading under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        start = self._clock.mono()
        for number in count():
            for place, sensor in enumerate(self._sensors):
                due = start + (number + place / len(self._sensors)) * self._period_ns
                if self._stop.wait(max(0.0, (due - self._clock.mono()) / NS)):
                    return
                while self._waiting() >= MOST_WAITING:
                    if self._stop.wait(_LOOK_AGAIN_S):
                        return
                self._send(sensor, number)
