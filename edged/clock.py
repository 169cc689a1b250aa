"""Time as a value that is passed in, so that replay and tests need no sleep.

All times are integer nanoseconds: `wall()` since 1970 UTC, `mono()` since an arbitrary
start and never going back. Durations come from `mono()` only: boards without a clock
battery jump by years when the network gives them the time.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import lru_cache
from typing import Protocol

NS = 1_000_000_000
MS = 1_000_000


class Clock(Protocol):
    """What the rest of edged knows of time."""

    def wall(self) -> int:
        """Nanoseconds since 1970 UTC, as the board believes."""

    def mono(self) -> int:
        """Nanoseconds that only rise."""


class SystemClock:
    """The board's own clocks."""

    wall = staticmethod(time.time_ns)
    mono = staticmethod(time.monotonic_ns)


class SteadyClock:
    """Wall time as it was at the start, going on like the monotonic clock: for ages that stay true when the wall clock jumps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.wall() - clock.mono()

    def now(self) -> int:
        """Give nanoseconds since 1970 UTC, as the board believed at the start."""
        return self._clock.mono() + self._offset


class VirtualClock:
    """A clock that stands still until it is set; for replay and tests."""

    def __init__(self, wall: int = 0) -> None:
        self._wall = wall
        self._mono = 0

    def wall(self) -> int:
        """Give the time set last."""
        return self._wall

    def mono(self) -> int:
        """Give the nanoseconds advanced so far."""
        return self._mono

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass on both clocks."""
        self._wall += ns
        self._mono += ns

    def set_wall(self, wall: int) -> None:
        """Go to the time `wall`; monotonic time follows forward steps only."""
        self._mono += max(0, wall - self._wall)
        self._wall = wall


def iso(ns: int) -> str:
    """Write nanoseconds since 1970 as `2026-11-22T04:12:21.123Z` (milliseconds, UTC).

    Times outside the years 1 to 9999 cannot be written so; they give the nearest that can.
    """
    seconds, rest = divmod(ns, NS)
    return f"{_to_the_second(min(max(seconds, _FIRST_S), _LAST_S))}.{rest // MS:03d}Z"


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    # Cached: the results of one batch speak of the same few seconds.
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()[:19]


_FIRST_S = -62135596800
_LAST_S = 253402300799
