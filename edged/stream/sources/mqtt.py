"""Messages from a broker: a block of many goes to the pipelines that asked for their topics.

One `MqttInput` serves all sources on one link. A block's messages are acknowledged when
every pipeline that got some of them has worked them off, and its results are safe: on disk, or
acknowledged by the broker they went to.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.clock import Clock
from edged.hold import Hold
from edged.mqtt.acks import Acks
from edged.mqtt.link import Link
from edged.mqtt.receive import Block
from edged.mqtt.topics import Template
from edged.records import Batch
from edged.stream.inbox import Inbox

Deliver = Callable[[Batch], bool | None]
_CACHED_TOPICS = 20_000  # beyond it the cache begins anew, so that hostile topics cannot fill the memory


class MqttSource:
    """One pipeline's subscription."""

    finished = False
    error = ""

    def __init__(self, template: str, qos: int) -> None:
        self.template = Template(template)
        self.labels_of = self.template.labels_of
        self.qos = qos
        self._deliver: Deliver | None = None

    def start(self, deliver: Deliver) -> None:
        """Let messages through from now on."""
        self._deliver = deliver

    def stop(self) -> None:
        """Let nothing more through; unacknowledged messages come again after a restart."""
        self._deliver = None

    def put(self, batch: Batch) -> None:
        """Pass a batch on, or leave it unacknowledged where the source is stopped."""
        if self._deliver is not None:
            self._deliver(batch)


class MqttInput:
    """All sources on one link."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: list[MqttSource] = []
        self._inboxes: list[Inbox] = []
        self._routes: dict[bytes, tuple[int, ...]] = {}
        self._acks: Acks | None = None
        self._link: Link | None = None
        self.unasked = 0  # messages whose topic no pipeline asked for

    def add(self, source: MqttSource, inbox: Inbox | None) -> None:
        """Take one more source and the inbox that it feeds; after `bind` it is subscribed at once."""
        # Lists anew: the link's thread may be reading the old ones.
        self._sources = [*self._sources, source]
        self._inboxes = [*self._inboxes, inbox] if inbox else self._inboxes
        self._routes = {}
        if self._link is not None:
            self._link.subscribe(source.template.filter, source.qos)

    def bind(self, link: Link) -> None:
        """Subscribe on `link`, and acknowledge there."""
        self._link = link
        self._acks = Acks(link.ack)
        for source in self._sources:
            link.subscribe(source.template.filter, source.qos)

    def on_block(self, block: Block, connection: int) -> None:
        """Hand a received block on; called in the link's thread."""
        wall, mono = self._clock.wall(), self._clock.mono()
        # Messages of QoS 0 do not come again: a block that has some is of no connection.
        again = connection if all(block.mids) else 0
        if len(self._sources) == 1:
            done = self._when_done(1, block.mids, connection)
            self._sources[0].put(Batch(block.topics, block.payloads, wall, mono, done, block.again, again, _size(block.payloads)))
            return
        parts = self._split(block)
        done = self._when_done(len(parts), block.mids, connection)
        for which, rows in parts.items():
            topics, payloads = [block.topics[i] for i in rows], [block.payloads[i] for i in rows]
            self._sources[which].put(Batch(topics, payloads, wall, mono, done, block.again, again, _size(payloads)))
        if not parts and done:
            done()

    def is_overfull(self) -> bool:
        """Say whether more came than is held in memory: the link should end, and wait for room."""
        return any(inbox.overfull for inbox in self._inboxes)

    def resumed(self, connection: int) -> None:
        """Note that the broker sends again what was not acknowledged; called in the link's thread, before it does."""
        for inbox in self._inboxes:
            inbox.forget_before(connection)

    def _split(self, block: Block) -> dict[int, list[int]]:
        parts: dict[int, list[int]] = {}
        for i, topic in enumerate(block.topics):
            routes = self._routes.get(topic)
            if routes is None:
                routes = self._find(topic)
            if not routes:
                self.unasked += 1
            for which in routes:
                parts.setdefault(which, []).append(i)
        return parts

    def _find(self, topic: bytes) -> tuple[int, ...]:
        routes = self._routes  # before the sources: what is found among old ones must not get into the new cache
        if len(routes) >= _CACHED_TOPICS:
            routes.clear()
        found = tuple(i for i, source in enumerate(self._sources) if source.labels_of(topic) is not None)
        routes[topic] = found
        return found

    def _when_done(self, parts: int, mids: list[int], connection: int) -> Callable[[], None] | None:
        """Give what acknowledges a block once it was called `parts` times; None where nothing waits for it."""
        if self._acks is None or not any(mids):
            return None
        done = self._acks.expect(mids, connection)
        return done if parts <= 1 else Hold(done, parts).release


def _size(payloads: list[bytes | None]) -> int:
    return sum([len(payload) for payload in payloads if payload])
