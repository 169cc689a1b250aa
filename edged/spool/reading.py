"""Rows read back from the spool's file, and who has some that could not be read."""

from __future__ import annotations

from edged.clock import NS, Clock
from edged.spool.faults import CORRUPT, SpoolError
from edged.spool.store import Row, Store

CHUNK = 512  # rows read at a time
AGAIN_NS = 5 * NS  # until rows that could not be read are tried again


class Reading:
    """Used by the writer's thread."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._missed: set[str] = set()
        self._again_at = 0

    def read(self, queue: str, after: int) -> list[Row]:
        """Give the next rows of a queue; raises SpoolError."""
        try:
            return self._store.read(queue, after, CHUNK)
        except SpoolError as error:
            if error.code == CORRUPT:
                raise
        try:
            return self._store.read(queue, after, CHUNK)  # by a new connection: the failure may have been of the old one
        except SpoolError as error:
            if error.code != CORRUPT:
                self._missed.add(queue)
                self._again_at = self._clock.mono() + AGAIN_NS
            raise

    @property
    def missed(self) -> bool:
        """Say whether there are rows that could not be read."""
        return bool(self._missed)

    def take_missed(self) -> set[str]:
        """Give the queues whose rows are to be tried again now."""
        if not self._missed or self._clock.mono() < self._again_at:
            return set()
        missed, self._missed = self._missed, set()
        return missed
