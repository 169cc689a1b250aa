"""How long results took, message by message, from the publisher to the subscriber."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soak.ledger import Ledger
from soak.publisher import Publisher

SHORT_S = 0.1  # a fifth of the usual deadline: whatever else the machine does may cost as much


@dataclass(frozen=True)
class Wait:
    """A message that went out at `sent`, monotonic seconds, and how many seconds later its result was there."""

    sent: float
    took: float


def waits(ledger: Ledger, publisher: Publisher, begin: float, end: float) -> list[Wait]:
    """Give the waits of all messages that went out from `begin` to `end`, of signals with one window a message."""
    found = []
    for track in ledger.tracks.values():
        sent = publisher.sent[track.signal.name][track.key]
        for first in range(0, sent.readings, track.signal.samples):
            at = sent.published_at(first)
            if begin <= at < end and (arrival := track.arrival(first)):
                found.append(Wait(at, arrival - at))
    return sorted(found, key=lambda wait: wait.sent)


def percentiles(found: list[Wait]) -> dict[str, float]:
    """Give the middle and the slowest hundredth, in milliseconds."""
    took = [wait.took * 1000 for wait in found]
    return {f"p{share}": round(float(np.percentile(took, share)), 1) for share in (50, 99)} if took else {}


def usual_from(before: list[Wait], after: list[Wait]) -> float:
    """Give the time from which on all waits of `after` are again as those of `before`: at most twice the slowest, or SHORT_S."""
    usual = max(2 * max(wait.took for wait in before), SHORT_S)
    return max((wait.sent + wait.took for wait in after if wait.took > usual), default=0.0)
