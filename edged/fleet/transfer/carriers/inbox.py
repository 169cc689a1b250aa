"""Fragments between the thread of the link and the one that puts them together: few, and of one download only."""

from __future__ import annotations

import threading
from collections import deque

from edged.clock import Clock
from edged.exchange.blobs import FRAGMENT, MAX_CREDIT, Fragment

ROOM = MAX_CREDIT + 8  # no more than MAX_CREDIT are ever asked for; some may come twice


class Inbox:
    """The fragments that came for the download `sid`. `wasted` counts the bytes that were turned away since it was last asked."""

    def __init__(self, sid: int, clock: Clock) -> None:
        self.sid = sid
        self._clock = clock
        self._waiting: deque[tuple[int, Fragment]] = deque()
        self._changed = threading.Condition()
        self._wasted = 0

    def put(self, fragment: Fragment) -> str:
        """Take a fragment, in the link's thread; give why not, empty where it is taken."""
        is_asked = fragment.sid == self.sid and len(fragment.data) <= FRAGMENT
        with self._changed:
            if not is_asked or len(self._waiting) >= ROOM:
                self._wasted += len(fragment.data)
                return "flood" if is_asked else "unasked"
            self._waiting.append((self._clock.mono(), fragment))
            self._changed.notify()
        return ""

    def waste(self, size: int) -> None:
        """Count bytes that are no fragment; in the link's thread."""
        with self._changed:
            self._wasted += size

    @property
    def is_empty(self) -> bool:
        """Say whether nothing waits."""
        return not self._waiting

    def take(self) -> tuple[int, Fragment] | None:
        """Give the next fragment and the monotonic nanoseconds at which it came."""
        return self._waiting.popleft() if self._waiting else None

    def take_wasted(self) -> int:
        """Give the bytes that were turned away since the last call."""
        if not self._wasted:
            return 0
        with self._changed:
            wasted, self._wasted = self._wasted, 0
        return wasted

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something, for so long at most."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
