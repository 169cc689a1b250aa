"""The small interface that every output stands behind, and the choice of what it gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from edged.hold import Hold
from edged.records import Outgoing, Result

Encode = Callable[[Result], bytes]  # one result in the output's format, without a newline at its end


class Output(Protocol):
    """Where a pipeline's results go. Used by one thread at a time.

    `dropped` counts results that were not delivered, by stable reason; `failing` says in words
    for people what is wrong now, None when nothing is; `finished` is True when nobody will ever
    read more of it (as in `edged run | head`).
    """

    dropped: dict[str, int]
    failing: str | None
    finished: bool

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        """Deliver results in this order, or count them; never raises for what the other side does.

        `hold` is taken for each result that is not safe yet when this returns.
        """

    def close(self) -> None:
        """Let go of what is held open. Nothing may be delivered after it."""


def wanted(outgoing: list[Outgoing], when: Literal["always", "change", "alarm"]) -> list[Outgoing]:
    """Keep the results an output asked for: all, those that changed label or alarm, or those while the alarm is on."""
    if when == "always":
        return outgoing
    if when == "change":
        return [each for each in outgoing if each.changed]
    return [each for each in outgoing if each.alarm]
