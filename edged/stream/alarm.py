"""The alarm of one stream: on, off, and not too often. All times are event times in nanoseconds.

It goes on when the score has been at `on` or beyond in every window of `min_s`, and not within
`quiet_s` of its last end. It goes off when the score is on the other side of `off`; between
the two it stays as it is. So each "on" is followed by an "off" before the next.
"""

from __future__ import annotations

import msgspec

from edged.clock import NS
from edged.models.schema import Alarm


class AlarmMemory(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a later run needs of one stream's alarm: how it stands, since when the score is beyond `on`, when it ended last."""

    on: bool
    since: int | None
    ended: int | None


class AlarmState:
    """One stream's alarm; `on` says how it stands. With `below`, low scores are the bad ones."""

    def __init__(self, alarm: Alarm, below: bool) -> None:
        self.on = False
        self._sign = -1.0 if below else 1.0
        self._on_at = self._sign * alarm.on
        self._off_at = self._sign * alarm.off
        self._min_ns = round(alarm.min_s * NS)
        self._quiet_ns = round(alarm.quiet_s * NS)
        self._since: int | None = None
        self._ended: int | None = None

    def step(self, score: float, now: int) -> bool:
        """Take the score of the window that ended at `now`; say whether the alarm is on."""
        level = self._sign * score
        self._forgive_clock(now)
        if self.on:
            if level < self._off_at:
                self.on, self._since, self._ended = False, None, now
            return self.on
        if level < self._on_at:
            self._since = None
            return False
        self._since = now if self._since is None else self._since
        quiet_over = self._ended is None or now - self._ended >= self._quiet_ns
        self.on = quiet_over and now - self._since >= self._min_ns
        return self.on

    def gap(self) -> None:
        """Begin `min_s` anew: what the score was in a gap is not known. An alarm that is on stays on."""
        self._since = None

    def dump(self) -> AlarmMemory:
        """Give what a later run needs to go on."""
        return AlarmMemory(self.on, self._since, self._ended)

    def restore(self, memory: AlarmMemory) -> None:
        """Go on with what `dump` gave."""
        self.on, self._since, self._ended = memory.on, memory.since, memory.ended

    def _forgive_clock(self, now: int) -> None:
        # A clock that is set back by years must not silence the alarm for years.
        self._since = None if self._since is None else min(self._since, now)
        self._ended = None if self._ended is None else min(self._ended, now)
