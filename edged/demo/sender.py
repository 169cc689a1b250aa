"""Publish the messages of many senders, each at its pace, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from threading import Event, Thread
from typing import Generic, TypeVar

from edged.clock import NS, Clock

S = TypeVar("S")

# More unacknowledged messages than this, and the sensors wait: a machine that is too slow for the
# speed asked for gets what it can take, and nothing is dropped.
MOST_WAITING = 256
_LOOK_AGAIN_S = 0.002


class Sender(Generic[S]):
    """Sends message after message of all senders until it is stopped; the senders are spread over the period."""

    def __init__(
        self,
        sensors: Sequence[S],
        rate_hz: float,
        clock: Clock,
        send: Callable[[S, int], None],
        waiting: Callable[[], int],
        each: int | None = None,
    ) -> None:
        """Prepare. `send` publishes message number n of a sender, `waiting` counts messages that the broker has not taken yet.

        `each` is how many each sends; None: for ever.
        """
        self._sensors = sensors
        self._period_ns = NS / rate_hz
        self._clock = clock
        self._send = send
        self._waiting = waiting
        self._numbers = count() if each is None else range(each)
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
        for number in self._numbers:
            for place, sensor in enumerate(self._sensors):
                due = start + (number + place / len(self._sensors)) * self._period_ns
                if self._stop.wait(max(0.0, (due - self._clock.mono()) / NS)):
                    return
                while self._waiting() >= MOST_WAITING:
                    if self._stop.wait(_LOOK_AGAIN_S):
                        return
                self._send(sensor, number)
