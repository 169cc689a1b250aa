"""How windows follow each other in the demo: when the next one is full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How windows follow each other: `samples` readings each, one every `hop`, `rate_hz` readings a second of real time."""

    samples: int
    hop: int
    rate_hz: float

    @property
    def first_s(self) -> float:
        """Give the seconds until the first window is full."""
        return self.samples / self.rate_hz

    def missing(self, sent: int) -> int:
        """Count the readings that the window under way still lacks."""
        return self.samples - sent if sent < self.samples else self.hop - (sent - self.samples) % self.hop

    def share(self, sent: int) -> float:
        """Say how full the window under way is, 0 to 1; windows overlap, so later ones begin part full."""
        return 1 - self.missing(sent) / self.samples

    def completed(self, sent: int) -> int:
        """Count the windows that the first `sent` readings fill."""
        return (sent - self.samples) // self.hop + 1 if sent >= self.samples else 0
