"""Messages on their way to a broker: many may wait, few are in flight at a time.

A client library's own queue is without bound and dies with the process, so little is handed
to it. Whoever makes messages calls `put` from any thread; the link opens the outbox while its
connection stands, and says when a message in flight is over. Where there is a disk, messages of
streams go there while the link is away or the broker acknowledges nothing; see `waiting.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edged.clock import NS, Clock
from edged.hold import Hold
from edged.mqtt.message import NOT_NOW, Message
from edged.mqtt.waiting import Disk, Waiting

ROOM = 1_000  # messages that may wait while the broker takes some, before who makes them is held up
ROOM_WAIT_S = 1.0  # for no longer, so that nobody waits for one who waits for him
AWAY_AFTER_NS = 1 * NS  # without a connection since the start, before messages go to disk
MUTE_AFTER_NS = 5 * NS  # without an acknowledgement, before messages go to disk


class Outbox:
    """The messages of one link. `dropped` counts by reason what never reached the broker."""

    def __init__(self, hand_over: Callable[[Message], int], clock: Clock) -> None:
        """`hand_over` starts a message on its way and gives what `over` will call it by; 0: it never can, NOT_NOW: it may later."""
        self.dropped: dict[str, int] = {}
        self.mute = False  # connected, and nothing is acknowledged
        self._hand_over = hand_over
        self._clock = clock
        self._began = clock.mono()
        self._heard = self._began  # when a message was last over
        self._waiting = Waiting()
        self._flying: dict[int, Message] = {}  # the oldest first
        self._early: dict[int, str] = {}  # over before `hand_over` returned
        self._starting = 0
        self._window = 0  # messages that may be in flight; 0 while closed
        self._lock = threading.Lock()
        self._pump_lock = threading.Lock()
        self._room = threading.Event()
        self._room.set()

    def attach(self, disk: Disk) -> None:
        """Use a disk; before anything is put."""
        self._waiting.disk = disk

    @property
    def waiting(self) -> int:
        """Count messages in memory that the broker has not acknowledged yet."""
        return len(self._waiting) + self._starting + len(self._flying)

    @property
    def behind(self) -> int:
        """Count messages that wait on disk, or were read back and wait."""
        return sum(self._waiting.behind.copy().values())

    @property
    def results(self) -> int:
        """Count results that the broker has not acknowledged yet: in flight, in memory and on disk."""
        with self._lock:
            return self._waiting.results + self._starting + sum(1 for message in self._flying.values() if message.stream)

    @property
    def at_risk(self) -> int:
        """Count results that are in memory only."""
        with self._lock:
            flying = sum(1 for message in self._flying.values() if message.stream and not message.row)
            return self._waiting.at_risk + self._starting + flying

    @property
    def drained(self) -> int:
        """Count messages that were read back from disk and sent, since the start."""
        return self._waiting.drained

    def put(self, message: Message) -> None:
        """Take a message."""
        with self._lock:
            dropped = self._waiting.put(message)
            hold = self._end(dropped, "outbox-full") if dropped else None
        _release(hold)
        self._pump()

    def wait_for_room(self) -> None:
        """Wait while more is put in than the broker or the disk takes, ROOM_WAIT_S at most; not while the broker is away."""
        if not self._room.is_set() and (self._window or self._crowded()):
            self._room.wait(ROOM_WAIT_S)

    def open(self, window: int) -> None:
        """Let at most `window` messages be in flight, from now on."""
        with self._lock:
            self._window = window
            self._waiting.reading = True
            self._waiting.away = self.mute
            now = self._clock.mono()
            for message in self._flying.values():
                message.sent = now  # on each connection they are sent again
            self._waiting.want_more()
        self._pump()

    def close(self) -> None:
        """Start nothing more; what is in flight stays so, what waits goes to disk."""
        with self._lock:
            self._window = 0
            self._waiting.reading = False
            self._waiting.go_away(self._flying.values())
        self._room.set()

    def finish(self) -> None:
        """Read nothing more back from disk: the daemon ends, and what is there is safe."""
        with self._lock:
            self._waiting.finish()

    def look(self) -> int:
        """Notice a broker that does not come, or does not acknowledge; give for how many ns the oldest message has been in flight."""
        now = self._clock.mono()
        with self._lock:
            oldest = next(iter(self._flying.values()), None)
            age = now - oldest.sent if oldest and self._window else 0
            # Until something is acknowledged, also over connections that are made anew.
            self.mute = oldest is not None and (self.mute or min(age, now - self._heard) > MUTE_AFTER_NS)
            absent = not self._window and now - self._began > AWAY_AFTER_NS
            if (self.mute or absent) and not self._waiting.away:
                self._waiting.go_away(self._flying.values())
                self._waiting.want_more()
            elif self._window and not self.mute:
                self._waiting.away = False
        return age

    # -- what the link says ---------------------------------------------------------------

    def over(self, mid: int, reason: str = "") -> None:
        """Note that a message in flight is over: acknowledged, or dropped for `reason`."""
        with self._lock:
            message = self._flying.pop(mid, None)
            if message is None:
                self._early[mid] = reason
                return
            hold = self._end(message, reason)
            self._heard, self.mute = self._clock.mono(), False
        _release(hold)
        self._pump()

    def unsent(self, mid: int) -> None:
        """Note that the connection ended before a message was written."""
        with self._lock:
            message = self._flying.pop(mid, None)
            if message is None:
                self._early[mid] = "connection-lost"
                return
            hold = self._put_back(message)
        _release(hold)

    def count(self, reason: str) -> None:
        """Count a message that was dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    # -- what the disk says ---------------------------------------------------------------

    def kept(self, message: Message) -> None:
        """Note that a message is on disk, safe."""
        with self._lock:
            hold, message.hold = message.hold, None
        _release(hold)
        self._give_room()

    def refused(self, message: Message, row: int, reason: str) -> None:
        """Note that a message will not be on disk: it is lost, where it is not in memory as well."""
        hold = None
        with self._lock:
            # One that is over by now has let go of its row.
            if message.row == row and self._waiting.off_disk(row, message.stream):
                message.row = 0
                hold = self._end(message, reason)
        _release(hold)
        self._give_room()

    def moved(self, upto: int) -> None:
        """Note that no row up to `upto` is on disk any more; what is in memory as well is safe no longer, and not lost."""
        with self._lock:
            self._waiting.moved(upto)

    def found(self, left: dict[int, int], last_row: int) -> None:
        """Note that an earlier run left so many messages of each stream on disk, up to `last_row`."""
        with self._lock:
            self._waiting.found(left, last_row)

    def lost(self, row: int, stream: int, reason: str) -> None:
        """Note that an old row was deleted to make room."""
        with self._lock:
            if self._waiting.off_disk(row, stream):
                self.count(reason)

    def feed(self, messages: list[Message], after: int, upto: int) -> None:
        """Take what was read from disk behind `after`; there is nothing else up to `upto`."""
        with self._lock:
            self._waiting.feed(messages, after, upto)
        self._pump()

    # -- inside ---------------------------------------------------------------------------

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
        self._give_room()

    def _may_start(self) -> bool:
        return len(self._waiting) > 0 and len(self._flying) + self._starting < self._window

    def _start(self) -> None:
        with self._lock:
            message = self._waiting.take()
            if message is None:
                return
            self._starting += 1  # at no time it is in neither
            message.sent = self._clock.mono()
        mid = self._hand_over(message)
        hold = None
        with self._lock:
            self._starting -= 1
            if mid == NOT_NOW:
                hold = self._put_back(message)
            elif not mid or mid in self._early:
                hold = self._end(message, self._early.pop(mid) if mid else "publish-failed")
            else:
                self._flying[mid] = message
                if self._waiting.away:
                    self._waiting.keep(message)
        _release(hold)

    def _put_back(self, message: Message) -> Hold | None:
        """Have a message wait again that the connection did not take; it is older than what waits of its stream."""
        if self._waiting.disk and message.stream:
            self._waiting.spill(message)
            self._waiting.want_more()
            return None
        return self._end(message, "connection-lost")

    def _end(self, message: Message, reason: str) -> Hold | None:
        if reason:
            self.count(reason)
        self._waiting.end(message)
        hold, message.hold = message.hold, None
        return hold

    def _give_room(self) -> None:
        if self._waiting.live >= ROOM or self._crowded():
            self._room.clear()
        elif self._waiting.live < ROOM // 2:
            self._room.set()

    def _crowded(self) -> bool:
        disk = self._waiting.disk
        return disk is not None and disk.crowded


def _release(hold: Hold | None) -> None:
    """Let go, without a lock held: who hears of it may have locks of his own."""
    if hold:
        hold.release()
