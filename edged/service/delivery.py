"""The way of results to the brokers, as one: the spool's writer, the links, and what a person sees of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edged.clock import NS, Clock, SteadyClock
from edged.config.load import Loaded
from edged.histogram import RateMeter
from edged.mqtt.link import Link
from edged.service.snapshot import SpoolStatus
from edged.spool.store import Store
from edged.spool.writer import Writer
from edged.stream.outputs.spooled import Spooled

SPOOL = "spool.db"  # in the state folder
STOP_S = 3.0  # for the brokers to take what is in memory, and again for the disk
_MIB = 1 << 20


@dataclass
class Delivery:
    """The links of a daemon, and the disk on which results wait for them; none where there is no link."""

    links: dict[str, Link]
    writer: Writer | None
    clock: Clock
    steady: SteadyClock
    max_mib: int
    rate: RateMeter  # of results that were read back from disk and sent

    def start(self) -> None:
        """Open the spool, then connect."""
        if self.writer:
            self.writer.start()
        for link in self.links.values():
            link.start()

    def look(self) -> None:
        """Notice brokers that are silent; called with each tick."""
        for link in self.links.values():
            link.look()
        if self.writer:
            self.writer.look()
        self.rate.observe(self._drained(), self.clock.mono())

    def stop(self) -> int:
        """Give the brokers what they take, put the rest to disk; give how many results are neither here nor there."""
        end = time.monotonic() + STOP_S
        for link in self.links.values():
            link.outbox.finish()  # all at once: one that is slow takes no time from the others
        for link in self.links.values():
            link.drain(max(0.0, end - time.monotonic()))
        if self.writer:
            self.writer.flush(STOP_S)  # what this makes safe is acknowledged while the links still stand
        for link in self.links.values():
            link.leave()
        left = sum(link.stop(0) for link in self.links.values())
        if self.writer is None:
            return left
        return self.writer.stop(STOP_S) + sum(link.outbox.at_risk for link in self.links.values())

    @property
    def behind(self) -> int:
        """Count results that wait on disk, or were read back and wait."""
        return sum(link.outbox.behind for link in self.links.values())

    @property
    def on_disk(self) -> int:
        """Count results in the spool's file."""
        return self.writer.rows if self.writer else 0

    def status(self) -> SpoolStatus:
        """Say how many results wait, and where."""
        results = sum(link.outbox.results for link in self.links.values())
        writer = self.writer
        if writer is None:
            return SpoolStatus("empty", 0, dropped=self.dropped())
        behind, rate = self.behind, self.rate.rate()
        connected = any(link.state.state == "connected" and not link.outbox.mute for link in self.links.values())
        used = writer.used_bytes / _MIB if writer.rows else 0.0
        status = SpoolStatus("memory" if results else "empty", results, used, self.max_mib, dropped=self.dropped())
        if writer.oldest is not None:
            status.oldest_s = max(0.0, (self.steady.now() - writer.oldest) / NS)
        if behind:
            status.state = "disk"
            if connected and rate:
                status.state, status.drain_rate, status.drain_left_s = "draining", rate, behind / rate
        if writer.fault is not None:
            status.state = "failing"
        return status

    def dropped(self) -> dict[str, int]:
        """Count by reason the messages that never reached their broker."""
        dropped: dict[str, int] = {}
        for counts in (*(link.dropped for link in self.links.values()), self.writer.dropped if self.writer else {}):
            for reason, count in counts.copy().items():
                dropped[reason] = dropped.get(reason, 0) + count
        return dropped

    def _drained(self) -> int:
        return sum(link.outbox.drained for link in self.links.values())


def make_delivery(loaded: Loaded, links: dict[str, Link], clock: Clock) -> Delivery:
    """Give every link a disk to wait on; without links there is nothing to keep. Opens nothing."""
    options = loaded.config.spool
    delivery = Delivery(links, None, clock, SteadyClock(clock), options.max_mib, RateMeter(clock.mono()))
    if links:
        store = Store(loaded.state_dir / SPOOL, options.max_mib * _MIB, options.full, clock)
        delivery.writer = Writer(store, options.full, options.commit_ms / 1000, clock)
        for name, link in links.items():
            Spooled(name, delivery.writer, link.outbox, delivery.steady)
    return delivery
