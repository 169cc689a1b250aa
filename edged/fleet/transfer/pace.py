"""How a transfer gets on: how long it has been silent, and whether somebody sends so slowly that it is no sending."""

from __future__ import annotations

from edged.clock import NS

MIN_RATE = 1 << 10  # bytes of use a second, on average over SPAN_NS of connected time
SPAN_NS = 300 * NS


class Pace:
    """All times are monotonic nanoseconds. `mute` is the connected time since anybody gave an answer of use."""

    def __init__(self, now: int) -> None:
        self.mute = 0
        self._heard = self._looked = self._began = now
        self._span = self._came = self._kept = 0

    def begin(self, now: int) -> None:
        """Begin with a carrier; that another was silent is not held against it."""
        self.mute, self._began = 0, now
        self.skip(now)

    def came(self, size: int, kept: int, now: int) -> None:
        """Note an answer of `size` bytes, of which `kept` are of use; pieces that turn out bad are taken back by `spoiled`."""
        if kept or not size:
            self.mute = 0
        if kept:
            self._heard = now
        self._came += size
        self._kept += kept

    def spoiled(self, size: int) -> None:
        """Note that bytes were of no use."""
        self._kept -= size

    def skip(self, now: int) -> None:
        """Leave out the time since the last look: it was the board's own disk that took it."""
        self._looked = now

    def look(self, now: int, is_connected: bool) -> None:
        """Let time pass; that without a connection does not count as slow."""
        passed, self._looked = now - self._looked, now
        if is_connected:
            self.mute += passed
            self._span += passed

    def silent(self, now: int) -> int:
        """Give how long no byte of use has come."""
        return now - self._heard

    def waits(self, now: int) -> int:
        """Give for how long the present carrier has brought no byte of use."""
        return now - max(self._heard, self._began)

    def is_slow(self) -> bool:
        """Say whether the last SPAN_NS of connected time brought bytes, and too few of use; each span counts alone."""
        if self._span < SPAN_NS:
            return False
        slow = self._came > 0 and self._kept < MIN_RATE * (SPAN_NS // NS)
        self._span = self._came = self._kept = 0
        return slow
