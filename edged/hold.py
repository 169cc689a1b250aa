"""Something that is done once everything that hangs on it is."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Hold:
    """Calls `done` once, when it was released as often as it was taken; begins as taken `count` times.

    An MQTT message is acknowledged so: each result that it completed takes its batch's hold,
    and lets it go when the result is safe. Any thread may take and release.
    """

    __slots__ = ("_done", "_left", "_lock")

    def __init__(self, done: Callable[[], None], count: int = 1) -> None:
        self._done = done
        self._left = count
        self._lock = threading.Lock()

    def take(self, count: int = 1) -> None:
        """Wait for `count` more releases."""
        with self._lock:
            self._left += count

    def release(self) -> None:
        """Say that one of what was waited for is done."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done()
