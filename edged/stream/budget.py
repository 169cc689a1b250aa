"""How often something may be done in an hour: a bucket of tokens."""

from __future__ import annotations

from edged.clock import NS, Clock

_HOUR_NS = 3600 * NS


class Budget:
    """Tokens for `per_hour` times; they come back evenly, and no more than an hour's are saved up. It begins full.

    Counted in nanoseconds of the hour, so that nothing is rounded away however seldom a token comes back.
    """

    def __init__(self, per_hour: int, clock: Clock) -> None:
        """`per_hour` 0: no limit."""
        self._per_hour = per_hour
        self._clock = clock
        self._saved = _HOUR_NS * per_hour  # tokens × the nanoseconds of an hour
        self._at = clock.mono()

    def take(self, wanted: int) -> int:
        """Take at most `wanted` tokens; give how many there were."""
        if not self._per_hour:
            return wanted
        now = self._clock.mono()
        self._saved = min(_HOUR_NS * self._per_hour, self._saved + (now - self._at) * self._per_hour)
        self._at = now
        taken = min(wanted, self._saved // _HOUR_NS)
        self._saved -= taken * _HOUR_NS
        return taken
