"""Messages on their way to a broker: many may wait, few are in flight at a time.

A client library's own queue is without bound and dies with the process, so little is handed
to it. Whoever makes messages calls `put` from any thread; the link opens the outbox while its
connection stands, and says when a message in flight is over.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edged.mqtt.message import Message

LIMIT = 10_000  # messages waiting; beyond it the oldest are dropped and counted
ROOM = 1_000  # of these may wait while the broker takes some, before who makes them is held up
ROOM_WAIT_S = 1.0  # for no longer, so that nobody waits for one who waits for him


class Outbox:
    """The messages of one link. `dropped` counts by reason what never reached the broker."""

    def __init__(self, hand_over: Callable[[Message], bool]) -> None:
        """`hand_over` starts a message on its way and says whether it could."""
        self.dropped: dict[str, int] = {}
        self._hand_over = hand_over
        self._messages: deque[Message] = deque()
        self._in_flight = 0
        self._window = 0  # messages that may be in flight; 0 while closed
        self._count_lock = threading.Lock()
        self._pump_lock = threading.Lock()
        self._room = threading.Event()
        self._room.set()

    @property
    def waiting(self) -> int:
        """Count messages that the broker has not acknowledged yet."""
        return len(self._messages) + self._in_flight

    def put(self, message: Message) -> None:
        """Take a message; the oldest gives way when there are too many."""
        self._messages.append(message)
        waiting = len(self._messages)
        if waiting >= ROOM and self._window:
            self._room.clear()
        if waiting > LIMIT:
            self._drop_oldest()
        self._pump()

    def wait_for_room(self) -> None:
        """Wait while more is put in than the broker takes, ROOM_WAIT_S at most; not while it is away."""
        if not self._room.is_set() and self._window:
            self._room.wait(ROOM_WAIT_S)

    def open(self, window: int) -> None:
        """Let at most `window` messages be in flight, from now on."""
        self._window = window
        self._pump()

    def close(self) -> None:
        """Start nothing more; what is in flight stays so."""
        self._window = 0
        self._room.set()

    def over(self, reason: str = "") -> None:
        """Note that one message in flight is over: acknowledged, or dropped for `reason`."""
        if reason:
            self.count(reason)
        self._flying(-1)
        self._pump()

    def count(self, reason: str) -> None:
        """Count a message that was dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _pump(self) -> None:
        """Start what may start; one thread at a time.

        Whoever finds another thread at it leaves its message to that one, which looks again
        after it has let go.
        """
        while self._may_start() and self._pump_lock.acquire(blocking=False):
            try:
                while self._may_start():
                    self._start()
            finally:
                self._pump_lock.release()
        if len(self._messages) < ROOM // 2:
            self._room.set()

    def _may_start(self) -> bool:
        return bool(self._messages) and self._in_flight < self._window

    def _start(self) -> None:
        self._flying(1)  # before it leaves the queue: at no time it is in neither
        if not self._hand_over(self._messages.popleft()):
            self._flying(-1)
            self.count("publish-failed")

    def _drop_oldest(self) -> None:
        try:
            self._messages.popleft()
        except IndexError:  # another thread took it
            return
        self.count("outbox-full")

    def _flying(self, change: int) -> None:
        with self._count_lock:
            self._in_flight += change
