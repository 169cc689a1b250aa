"""What the board asks a firmware, and when: who it is, and what its clock shows."""

from __future__ import annotations

from firmware_bridge import frames
from firmware_bridge.messages import Ping, TimeAnswer, TimeQuestion
from firmware_bridge.outbox import Outbox

_NS = 1_000_000_000
HELLO_EVERY_NS = _NS
LEARN_NS = 60 * _NS  # how long the time is asked for often
TIME_OFTEN_NS = _NS
TIME_RARELY_NS = 10 * _NS


class Asking:
    """Puts questions into the outbox when they are due. All times are monotonic ns."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._hello_ns: int | None = None  # when it was asked for last
        self._time_ns: int | None = None
        self._learning_since = 0
        self._open: int | None = None  # the question that waits for its answer, by its time

    def begin(self, now_ns: int) -> None:
        """Ask for a HELLO at once: the line was opened."""
        self._hello_ns = self._time_ns = self._open = None
        self.hello(now_ns)

    def hello(self, now_ns: int) -> None:
        """Ask for a HELLO, unless that was done within the last second."""
        if self._hello_ns is None or now_ns - self._hello_ns >= HELLO_EVERY_NS:
            self._hello_ns = now_ns
            self._outbox.put(frames.PING, Ping(want_hello=True).encode())

    def learn(self, now_ns: int) -> None:
        """Ask for the time often from now on: the firmware's clock is a new one."""
        self._learning_since = now_ns
        self._time_ns = self._open = None

    def time(self, now_ns: int) -> None:
        """Ask for the time, if that is due. A question that was not answered is given up with the next."""
        every = TIME_OFTEN_NS if now_ns - self._learning_since < LEARN_NS else TIME_RARELY_NS
        if self._time_ns is None or now_ns - self._time_ns >= every:
            self._time_ns = self._open = now_ns
            self._outbox.put(frames.TIME, TimeQuestion(now_ns % 2**64).encode())

    def answered(self, answer: TimeAnswer) -> int | None:
        """Give when the question of this answer was asked; None when it answers none that waits."""
        asked = self._open
        if asked is None or answer.host_ns != asked % 2**64:
            return None
        self._open = None
        return asked
