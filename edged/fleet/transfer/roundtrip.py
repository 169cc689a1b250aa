"""How long an answer takes, and when to stop waiting for one: RFC 6298, in nanoseconds.

A sample of an answer that was asked for twice would be a guess (Karn): the caller gives none.
"""

from __future__ import annotations

from edged.clock import MS, NS

FIRST_TIMEOUT = 3 * NS
LEAST_TIMEOUT = 200 * MS
MOST_TIMEOUT = 30 * NS


class RoundTrip:
    """The smoothed round trip, 0 before the first sample; `least` is the shortest; `timeout` is what to wait."""

    def __init__(self) -> None:
        self.smoothed = 0
        self.least = 0
        self.timeout = FIRST_TIMEOUT
        self._variation = 0

    def sample(self, took: int) -> None:
        """Take a measured round trip."""
        took = max(1, took)
        if not self.smoothed:
            self.smoothed, self.least, self._variation = took, took, took // 2
        else:
            self._variation = (3 * self._variation + abs(self.smoothed - took)) // 4
            self.smoothed = (7 * self.smoothed + took) // 8
            self.least = min(self.least, took)
        self.forget_silence()

    @property
    def is_queueing(self) -> bool:
        """Say whether answers wait for each other somewhere on the way: more at once would only wait longer, and be lost at a cut."""
        return self.smoothed > max(NS, 3 * self.least)

    def back_off(self) -> None:
        """Wait twice as long after a silence; the next sample ends that."""
        self.timeout = min(MOST_TIMEOUT, 2 * self.timeout)

    def forget_silence(self) -> None:
        """Wait no longer than the samples say."""
        if self.smoothed:
            self.timeout = min(MOST_TIMEOUT, max(LEAST_TIMEOUT, self.smoothed + 4 * self._variation))
        else:
            self.timeout = FIRST_TIMEOUT
