"""What time it is for signed documents, on a board whose clock may be unset, wrong or set back.

Time never goes below what a clock showed that something kept right: such a moment is kept in the floor. So a clock that is
set back makes nothing valid again, and one that begins in 1970 is taken for the moment seen last. A clock that runs ahead
and that nothing keeps right lets documents look expired, and installs nothing; it lifts no floor, so all is well when
it is right again. No time that somebody signed lifts the floor: a thief of a key could end all updates with it.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.clock import NS, Clock

SYNCED, UNSYNCED, UNKNOWN = "synced", "unsynced", "unknown"
LIFT_EVERY_NS = 3600 * NS  # a write to disk for each
OLDEST_NS = 1_735_689_600 * NS  # 2025: edged is younger


class Time:
    """Effective time; `unsynced` asks the kernel, see `board/timesync.py`."""

    def __init__(self, clock: Clock, unsynced: Callable[[], bool | None]) -> None:
        self._clock = clock
        self._unsynced = unsynced

    def now(self, floor: int) -> int:
        """Give nanoseconds since 1970."""
        return max(self._clock.wall(), floor)

    def lifted(self, floor: int) -> int:
        """Give the floor as it should be now: it is lifted once an hour, by a clock that is right."""
        now = self._clock.wall()
        return now if self.state == SYNCED and now - floor >= LIFT_EVERY_NS else floor

    @property
    def state(self) -> str:
        """Say whether the clock is right."""
        if self._clock.wall() < OLDEST_NS:
            return UNSYNCED
        unsynced = self._unsynced()
        return UNKNOWN if unsynced is None else UNSYNCED if unsynced else SYNCED
