"""The board's one token for memory bandwidth: whoever holds it decodes, and nobody else.

Decoding streams a model's weights through memory for each token. Two that do so at once take twice as long each, and sensors
wait for both. So one engine decodes at a time; who waits is served by urgency, then in turn. A holder for whom somebody of the same
or more urgency waits is asked to give it back, which it does between two pieces of its work.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_SAY_S = 0.1

URGENCIES = ("safety", "normal", "background")


@dataclass(order=True)
class _Waiter:
    rank: int
    order: int
    ask_back: Callable[[], None] = field(compare=False)
    served: threading.Event = field(default_factory=threading.Event, compare=False)
    gone: bool = field(default=False, compare=False)


class BandwidthToken:
    """One token, for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._holder: _Waiter | None = None
        self._count = itertools.count()

    def acquire(
        self, urgency: str, ask_back: Callable[[], None], timeout_s: float | None = None, waiting: Callable[[], None] = lambda: None
    ) -> bool:
        """Wait for the token; False where it did not come in time.

        `ask_back` is called, from another thread, while this one holds it and another waits for it: maybe more than once, and maybe
        just after it was given back. `waiting` is called now and then while this one waits; where it raises, the wait is over.
        """
        me = _Waiter(URGENCIES.index(urgency), next(self._count), ask_back)
        with self._lock:
            if self._holder is None:
                self._holder = me
                return True
            heapq.heappush(self._waiting, me)
            holder = self._holder
        try:
            if me.rank <= holder.rank:
                holder.ask_back()
            _wait(me, timeout_s, waiting)
        except BaseException:
            if self._leave(me):
                self.release()
            raise
        return self._leave(me)

    def _leave(self, me: _Waiter) -> bool:
        """Wait no longer; say whether the token came before."""
        with self._lock:
            me.gone = not me.served.is_set()
            return not me.gone

    def release(self) -> None:
        """Give it to whoever is next."""
        with self._lock:
            self._holder = None
            while self._waiting and self._holder is None:
                first = heapq.heappop(self._waiting)
                if not first.gone:
                    self._holder = first
                    first.served.set()

    def wanted(self) -> bool:
        """Say whether somebody waits whom the holder should let before, if it held it long enough."""
        with self._lock:
            holder = self._holder
            return holder is not None and any(not each.gone and each.rank <= holder.rank for each in self._waiting)


def _wait(me: _Waiter, timeout_s: float | None, waiting: Callable[[], None]) -> None:
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while (left := _SAY_S if end is None else end - time.monotonic()) > 0 and not me.served.wait(min(left, _SAY_S)):
        waiting()


TOKEN = BandwidthToken()
