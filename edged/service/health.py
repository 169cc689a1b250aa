"""Health as data: the conditions that hold now, each with a code, a severity and a since-when.

Healthy is the absence of conditions. A condition is known by its code and its subject, such
as `broker-unreachable` of `main`; codes and subjects come from us and the configuration,
never from outside, so their number is bounded. Any thread may set and clear.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from edged.clock import NS, Clock, iso
from edged.service.snapshot import ERROR, INFO, WARNING, Condition

_RANK = {ERROR: 0, WARNING: 1, INFO: 2}


@dataclass(frozen=True)
class _Held:
    severity: str
    text: str
    hint: str
    since: int
    since_mono: int


class Conditions:
    """What is not as it should be, now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._held: dict[tuple[str, str], _Held] = {}

    def set(self, code: str, severity: str, text: str, *, subject: str = "", hint: str = "") -> bool:
        """Note that a condition holds; one that already did keeps its since-when.

        Gives whether this is news (the condition is new or its severity changed), so that
        the caller logs a change once.
        """
        key = (code, subject)
        with self._lock:
            old = self._held.get(key)
            wall, mono = (old.since, old.since_mono) if old else (self._clock.wall(), self._clock.mono())
            self._held[key] = _Held(severity, text, hint, wall, mono)
        return old is None or old.severity != severity

    def clear(self, code: str, subject: str = "") -> bool:
        """Note that a condition is over; gives whether it held."""
        with self._lock:
            return self._held.pop((code, subject), None) is not None

    def list(self) -> list[Condition]:
        """Give all conditions that hold: the worst first, then the oldest."""
        with self._lock:
            held = sorted(self._held.items(), key=lambda item: (_RANK[item[1].severity], item[1].since_mono, item[0]))
        mono = self._clock.mono()
        return [
            Condition(code, one.severity, iso(one.since), one.text, one.hint, subject, (mono - one.since_mono) / NS)
            for (code, subject), one in held
        ]
