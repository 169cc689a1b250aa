"""A repository at a broker's side: metadata, orders and bytes for boards, for as long as it runs."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable

from edged.clock import Clock
from edged.config.schema import NAME, Broker
from edged.errors import EdgedError
from edged.mqtt.link import Link
from edged.mqtt.receive import Block
from edged.mqtt.topics import FleetTopics
from edged.publisher.announcer import Announcer
from edged.publisher.blobserver import BlobServer
from edged.publisher.post import Post, make_link
from edged.publisher.repository import Repository
from edged.publisher.shelf import Shelf

_STOP_S = 5.0


class Server:
    """What `edged fleet serve` runs: a link, a thread that answers requests for bytes, one that publishes.

    Start it once, stop it once.
    """

    def __init__(self, repository: Repository, broker: Broker, password: str, clock: Clock, rng: random.Random) -> None:
        """Prepare; nothing is opened yet. Raises OperatorError(`tls-files`)."""
        self._topics = FleetTopics(repository.fleet)
        self._stop = threading.Event()
        self._shelf = Shelf()
        self.link: Link = make_link(broker, password, clock, rng, self._on_block, self._on_connected)
        self.blobs = BlobServer(repository.fleet, repository.layout.blobs.folder, self.link.publish, clock, rng)
        self.announcer = Announcer(repository, self._shelf, Post(self.link, self._stop), clock, rng, self.blobs.look_again)
        self._threads = [
            threading.Thread(target=self._run, args=(run,), name=name, daemon=True)
            for name, run in (("fleet-blobs", self.blobs.run), ("fleet-news", self.announcer.run))
        ]
        self.fault: BaseException | None = None

    def start(self) -> None:
        """Subscribe, connect, serve; returns at once."""
        for rest, qos in (("blob/req", 0), ("birth", 1)):
            self.link.subscribe(self._topics.of_devices(rest), qos)
        self.link.subscribe(self._topics.repo("#"), 0)
        self.link.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all; what boards wait for they ask another server for."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_STOP_S)
        self.link.stop(0.5)

    @property
    def trouble(self) -> EdgedError | None:
        """Say what is wrong with publishing now; None where nothing is."""
        return self.announcer.told.trouble

    def _run(self, run: Callable[[threading.Event], None]) -> None:
        try:
            run(self._stop)
        except BaseException as error:  # a bug: whoever runs the server shows it, and ends
            self.fault = error

    # -- the link's thread ------------------------------------------------------------------

    def _on_connected(self) -> None:
        self.blobs.forget()
        self.announcer.connected()

    def _on_block(self, block: Block, connection: int) -> None:
        retained = {*block.retained}
        for i, (topic, payload) in enumerate(zip(block.topics, block.payloads)):
            self._take(topic, payload, i in retained)
        mids = [mid for mid in block.mids if mid]
        if mids:
            self.link.ack(mids, connection)

    def _take(self, topic: bytes, payload: bytes | None, retained: bool) -> None:
        try:
            split = self._topics.split(topic.decode())
        except UnicodeDecodeError:
            return
        if split is None:
            return
        device, rest = split
        if device == "_repo":
            self._shelf.take(rest, payload)
        elif not re.match(NAME, device):
            self.blobs.dropped["bad-name"] += 1
        elif rest == "blob/req" and not retained:
            self.blobs.take(device, payload)
        elif rest == "birth" and payload and not retained:  # a retained one is from before: all was published on this connection
            self.announcer.born(device)
