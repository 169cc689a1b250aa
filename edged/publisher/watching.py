"""Hears what the devices of a fleet publish, and hands it on in order to one thread."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterator
from typing import NamedTuple

from edged.clock import Clock
from edged.config.schema import Broker
from edged.mqtt.link import Link
from edged.mqtt.receive import Block
from edged.mqtt.topics import FleetTopics
from edged.publisher.post import make_link, reach
from edged.publisher.reports import MAX_BYTES

HEARD = ("status", "birth", "reported", "evt/update")
_MOST = 1_000  # messages between the threads; beyond it the broker waits
_LOOK_S = 0.2


class Said(NamedTuple):
    """A message below the topic of a device: `rest` is one of HEARD. A payload of None was too long."""

    device: str
    rest: str
    payload: bytes | None
    retained: bool


class Watcher:
    """A link that hears a fleet. Start it once, stop it once."""

    def __init__(self, fleet: str, broker: Broker, password: str, clock: Clock, rng: random.Random) -> None:
        """Prepare; nothing is opened yet. Raises OperatorError(`tls-files`)."""
        self._topics = FleetTopics(fleet)
        self._said: queue.Queue[Said] = queue.Queue(_MOST)
        self._stop = threading.Event()
        self.link: Link = make_link(broker, password, clock, rng, self._on_block)

    def start(self) -> None:
        """Subscribe and connect; raises BrokerUnreachable where that takes too long."""
        for rest in HEARD:
            self.link.subscribe(self._topics.of_devices(rest), 1)
        self.link.start()
        reach(self.link)

    def stop(self) -> None:
        """End the connection."""
        self._stop.set()
        self.link.stop(0.0)

    def hear(self, seconds: float) -> Iterator[Said]:
        """Give what comes: wait for the first message for so long, then take all that are here."""
        try:
            yield self._said.get(timeout=seconds)
            while True:
                yield self._said.get_nowait()
        except queue.Empty:
            return

    def _on_block(self, block: Block, connection: int) -> None:
        retained = {*block.retained}
        for i, (topic, payload) in enumerate(zip(block.topics, block.payloads)):
            split = self._topics.split(topic.decode("utf-8", "replace"))
            if split:
                self._put(Said(*split, payload if payload is None or len(payload) <= MAX_BYTES else None, i in retained))
        mids = [mid for mid in block.mids if mid]
        if mids:
            self.link.ack(mids, connection)

    def _put(self, said: Said) -> None:
        while not self._stop.is_set():
            try:
                self._said.put(said, timeout=_LOOK_S)
            except queue.Full:
                continue
            return
