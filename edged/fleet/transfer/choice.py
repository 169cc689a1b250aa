"""Which carrier to use: the first that is connected and does not rest after a failure."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from edged.backoff import Backoff
from edged.clock import NS, Clock
from edged.errors import PeerError
from edged.fleet.transfer.carriers.base import Broken, Carrier

SOON_S, SOON_MOST_S = 1.0, 60.0  # after a connection that broke
MOST_BREAKS = 8  # in a row, without a piece between them, before it counts as one on which nobody answers
LATE_S, LATE_MOST_S = 60.0, 900.0  # after one on which nobody answers: to try again costs as long a silence


class _Record:
    def __init__(self, rng: random.Random) -> None:
        self.error: PeerError | None = None
        self.until = 0
        self.soon, self.late = Backoff(SOON_S, SOON_MOST_S, rng), Backoff(LATE_S, LATE_MOST_S, rng)


class Choice:
    """The carriers, in order of preference, and how they failed; kept over transfers."""

    def __init__(self, carriers: Sequence[Carrier], clock: Clock, rng: random.Random) -> None:
        self.carriers = tuple(carriers)
        self._clock = clock
        self._records = {carrier: _Record(rng) for carrier in carriers}

    def begin(self) -> None:
        """Start another transfer: where all rest, none does, for somebody has waited and asks again."""
        if self.pick(()) is None:
            for record in self._records.values():
                record.error, record.until = None, 0

    def pick(self, without: Collection[Carrier]) -> Carrier | None:
        """Give the best carrier that is worth asking now; None where there is none."""
        now = self._clock.mono()
        usable = (each for each in self.carriers if each not in without and self._records[each].until <= now)
        return next((each for each in usable if each.connected()), None)

    def failed(self, carrier: Carrier, error: PeerError) -> None:
        """Let a carrier rest."""
        record = self._records[carrier]
        backoff = record.soon if isinstance(error, Broken) and record.soon.attempts < MOST_BREAKS else record.late
        record.error, record.until = error, self._clock.mono() + int(backoff.next() * NS)

    def worked(self, carrier: Carrier) -> None:
        """Forget how a carrier failed: it brought a piece."""
        record = self._records[carrier]
        record.error = None
        record.soon.reset()
        record.late.reset()

    def failure(self, carrier: Carrier) -> PeerError | None:
        """Give how a carrier failed last, since it worked."""
        return self._records[carrier].error

    def may_work_soon(self, carrier: Carrier) -> bool:
        """Say whether it is worth waiting for a carrier: it did not fail, or broke a few times only."""
        record = self._records[carrier]
        return record.error is None or (isinstance(record.error, Broken) and record.soon.attempts < MOST_BREAKS)
