"""When boards that came are answered: what is sent for one of them goes to all, and each byte may cost each of them money.

A board that comes again and again, because its line is bad or because it wants to do harm, is answered ever more seldom;
and all answers together are no more than RATE over time. Who has to wait is answered together with the next one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edged.clock import NS, Clock

MOST_WAIT_NS = 600 * NS  # of one board, between two answers
RATE = 512  # bytes a second, to each board of the fleet: 44 MB a day
BURST = 256 << 10
_MOST = 20_000


@dataclass
class _Known:
    answered: int
    wait: int


class Births:
    """Boards that came and wait for an answer. `take` may be called from another thread than the rest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._known: dict[str, _Known] = {}  # in the order in which they were answered
        self._credit, self._counted = BURST, clock.mono()

    def take(self, device: str) -> None:
        """Note that a device said who it is."""
        with self._lock:
            if len(self._waiting) < _MOST:
                self._waiting.add(device)

    @property
    def due(self) -> bool:
        """Say whether somebody is to be answered now."""
        now = self._clock.mono()
        seconds = (now - self._counted) // NS
        self._counted += seconds * NS
        self._credit = min(BURST, self._credit + seconds * RATE)
        if self._credit <= 0 or not self._waiting:
            return False
        with self._lock:
            return any((known := self._known.get(each)) is None or now - known.answered >= known.wait for each in self._waiting)

    def answered(self, size: int, first_wait: int) -> set[str]:
        """Give those that were answered, with so many bytes to all; one of them waits for `first_wait` ns at least until the next time."""
        now = self._clock.mono()
        self._credit -= size
        with self._lock:
            those, self._waiting = self._waiting, set()
        for each in those:
            known = self._known.pop(each, None)
            wait = min(MOST_WAIT_NS, 2 * known.wait) if known is not None else first_wait
            self._known[each] = _Known(now, wait)
        self._forget(now)
        return those

    def _forget(self, now: int) -> None:
        """Forget those that were quiet for long."""
        while self._known and (len(self._known) > _MOST or now - next(iter(self._known.values())).answered >= 2 * MOST_WAIT_NS):
            del self._known[next(iter(self._known))]
