"""Pauses before starts that follow failures, longer each time: a daemon that cannot start leaves the board to others.

systemd calls after each end and before each start. Its own RestartSteps= exists from version 254
on only, and never forgets: one failure a month ends at the longest pause. Here failures count
that follow each other within ten minutes. The count lies in the runtime folder, which systemd
keeps over a restart and removes at a stop.
"""

from __future__ import annotations

from pathlib import Path

from edged.clock import NS, Clock

CALM_S = 600
FIRST_S = 2
MOST_S = 60


class Restarts:
    """The failures in a row of one service."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """`folder` lives as long as the service is not stopped; the clock's `mono` goes on over all its processes."""
        self._file = folder / "failures"
        self._clock = clock

    def ended(self, result: str) -> None:
        """Note an end, `result` as in systemd's SERVICE_RESULT: all but `success` is a failure. Raises OSError."""
        if result == "success":
            self._file.unlink(missing_ok=True)
        else:
            self._file.write_text(f"{self.failures + 1} {self._clock.mono()}\n", encoding="ascii")

    @property
    def failures(self) -> int:
        """Count the failures in a row that are still fresh; what cannot be read is none."""
        try:
            count, mono = (int(word) for word in self._file.read_text(encoding="ascii")[:64].split())
        except (OSError, ValueError):
            return 0
        return max(count, 0) if self._clock.mono() - mono < CALM_S * NS else 0

    @property
    def pause_s(self) -> int:
        """Give the seconds to wait before the next start: none after the first failure, then doubling."""
        return min(MOST_S, FIRST_S << min(self.failures - 2, 10)) if self.failures > 1 else 0
