"""How long to wait before trying again: doubling, with full jitter, up to a limit.

Full jitter (a uniform draw up to the current bound) keeps a fleet that lost one broker from
coming back in step. Randomness is passed in.
"""

from __future__ import annotations

import random


class Backoff:
    """A sequence of waits for one repeated attempt."""

    def __init__(self, first_s: float, most_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._rng = rng
        self.attempts = 0

    def next(self) -> float:
        """Count one failed attempt; give the seconds to wait, at least a tenth of the bound."""
        bound = min(self._most_s, self._first_s * 2 ** min(self.attempts, 30))
        self.attempts += 1
        return bound * self._rng.uniform(0.1, 1.0)

    def reset(self) -> None:
        """Begin anew after a success."""
        self.attempts = 0
