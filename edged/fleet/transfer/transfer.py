"""The board's transfer: a blob from whoever has it, into memory or a file, gone on with after any end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edged.clock import Clock
from edged.errors import Cancelled, PublisherError
from edged.exchange.pieces import count_pieces, index_bytes
from edged.fleet.transfer.budget import Budget
from edged.fleet.transfer.carriers.base import Carrier
from edged.fleet.transfer.choice import Choice
from edged.fleet.transfer.fetching import Fetching
from edged.fleet.transfer.goals import Goal, InMemory, OnDisk
from edged.fleet.transfer.mapping import Subject
from edged.fleet.transfer.partial import Partial
from edged.models.packed import FileSeal

MOST_SMALL = 1 << 20  # bytes; the index of a file of 32 GiB


class Transfer:
    """Brings blobs to one board; used by one thread at a time.

    `received` counts the bytes that carriers gave since the start, also those that were thrown away; `damaged` the
    pieces that were not what was signed. Both methods go on over disconnections until SILENT_NS pass without a
    byte, and raise, beside Cancelled:

        PeerError   `offline`        no carrier is connected
                    `no-server`      one is, and nobody answers
                    `blob-not-found` all who answer lack it
                    `transfer-slow`  somebody sends less than MIN_RATE, on average over five minutes of connected time
                    `piece-damaged`  a piece came three times with wrong bytes
        BoardError  `budget-spent`, `no-space`, `store-unwritable`

    What has come to the disk stays there, and the next call goes on with it.
    """

    def __init__(
        self,
        carriers: Sequence[Carrier],
        folder: Path,
        budget: Budget,
        clock: Clock,
        rng: random.Random,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`carriers` are in order of preference, `folder` is the store's incoming/; `pause` is how to wait."""
        self.received = 0
        self.damaged = 0
        self._choice = Choice(carriers, clock, rng)
        self._folder, self._budget, self._clock, self._rng, self._pause = folder, budget, clock, rng, pause

    def small(self, sha256: str, size: int, cancelled: Callable[[], bool]) -> bytes:
        """Give a whole blob from memory, checked. Raises PublisherError(`blob-too-large`) above 1 MiB, and see the class."""
        if size > MOST_SMALL:
            text = f"blob {sha256[:16]}… has {size:,} bytes, and 1 MiB is allowed for what is no model"
            raise PublisherError("blob-too-large", text, "publish a smaller one")
        goal = InMemory(sha256, size)
        self._fetch(goal, cancelled)
        assert goal.data is not None
        return goal.data

    def bring(self, seal: FileSeal, index_sha256: str, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> Path:
        """Leave a whole file at folder/{sha256}.part, each piece checked against the index; give its path.

        The index is fetched first, and checked by `index_sha256`; that of a file of one piece is not looked at.
        `progress` gets the bytes that are there, resumed ones included. Raises PublisherError(`no-piece-index`), and
        see the class.
        """
        index = self._index(seal, index_sha256, cancelled)
        subject = Subject(seal.size, index_sha256 if count_pieces(seal.size) > 1 else "")
        partial = Partial(self._folder, seal.sha256, subject, index, self._clock, self._rng)

        def told(done: int) -> None:
            progress(done)
            if cancelled():  # also while pieces that are the same are copied
                raise Cancelled

        try:
            self._fetch(OnDisk(seal.sha256, seal.size, index, partial, told), cancelled)
        finally:
            partial.close()
        return partial.path

    def _index(self, seal: FileSeal, index_sha256: str, cancelled: Callable[[], bool]) -> bytes:
        if count_pieces(seal.size) == 1:
            return bytes.fromhex(seal.sha256)
        if not index_sha256:
            text = f"no piece index was signed for blob {seal.sha256[:16]}…, which has {count_pieces(seal.size)} pieces"
            raise PublisherError("no-piece-index", text, "publish the release again with `edged fleet publish`")
        return self.small(index_sha256, index_bytes(seal.size), cancelled)

    def _fetch(self, goal: Goal, cancelled: Callable[[], bool]) -> None:
        fetching = Fetching(goal, self._choice, self._clock, self._came, self._budget.check, cancelled, self._pause)
        try:
            fetching.run()
        finally:
            self.damaged += fetching.damaged
            self._budget.save()

    def _came(self, size: int) -> None:
        self.received += size
        self._budget.spend(size)
