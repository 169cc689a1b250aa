"""What an error of a stage means for its update. Pure."""

from __future__ import annotations

from edged.errors import EXIT_NO_FIT, EdgedError
from edged.fleet.machine import ACTIVATE, BLOCKED, BLOCKING, EXHAUSTED, FAILED, MAX_ATTEMPTS, REFUSED

RETRY_S = 10.0
MOST_RETRY_S = 600.0
_FINAL = frozenset({"engine-missing"})  # of the board's errors; those of the publisher and the operator all are


def outcome(error: EdgedError, state: str, attempt: int, blocked: int) -> tuple[str, float]:
    """Give the event for the machine, and the seconds until the next try; `blocked` says how often it was blocked before."""
    final = error.family in ("publisher", "operator") or error.exit_code == EXIT_NO_FIT or error.code in _FINAL
    if state == ACTIVATE or final:
        return REFUSED, 0.0
    if error.code in BLOCKING:
        return BLOCKED, min(MOST_RETRY_S, RETRY_S * 2.0 ** min(blocked, 10))
    if attempt >= MAX_ATTEMPTS:
        return EXHAUSTED, 0.0
    return FAILED, RETRY_S * attempt
