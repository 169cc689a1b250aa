"""The fleet's own connection to the main broker: orders, metadata and bytes of models come on it, requests for bytes go out.

It is another one than that of readings, so that a model on its way holds up none of them. What comes is handed on in the
connection's thread; it is acknowledged at once, because all of it is retained, asked for again, or expires.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from edged.clock import Clock
from edged.fleet.mailbox import Mailbox
from edged.fleet.transfer.carriers.mqtt import MqttCarrier
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.receive import Block
from edged.mqtt.topics import DeviceTopics, FleetTopics

FLEET = "+fleet"  # behind a broker's name: a connection of its own; no configured name has a plus
LONGEST_WAIT_S = 3.0  # a link that is up for seconds at a time must be met


class FleetLine:
    """What comes from the fleet, and the way back; usable before it is bound to a connection, and without one."""

    def __init__(self, topics: DeviceTopics, groups: Sequence[str], clock: Clock, rng: random.Random) -> None:
        self.mailbox = Mailbox(topics, groups, clock, lambda: self.wake())
        self.carrier = MqttCarrier(topics, self._publish, self._is_connected, rng)
        self.wake: Callable[[], None] = lambda: None
        self._link: Link | None = None
        self._data = topics.blob_data("").encode()
        fleet = FleetTopics(topics.fleet)
        self._retained = [fleet.repo("#"), topics.desired, *map(fleet.group_desired, groups)]
        self._others = {topics.commands: 1, topics.blob_data("+"): 0}

    def bind(self, link: Link) -> None:
        """Speak over this connection, which hands its messages to `on_block`."""
        self._link = link
        for topic, qos in {**dict.fromkeys(self._retained, 1), **self._others}.items():
            link.subscribe(topic, qos)

    def on_block(self, block: Block, connection: int) -> None:
        """Sort what came; called in the connection's thread."""
        retained = frozenset(block.retained)
        for i, (topic, payload) in enumerate(zip(block.topics, block.payloads)):
            if topic.startswith(self._data):
                self.carrier.received(payload or b"")
            else:
                self.mailbox.put(topic, payload, i in retained)
        if self._link is not None and any(block.mids):
            self._link.ack(block.mids, connection)

    def connected(self) -> None:
        """Note that a connection stands: who waited for one need not go on waiting."""
        self.mailbox.heard += 1
        self.wake()

    def ask_again(self) -> bool:
        """Have the broker send again what it retains; False without a connection. Brokers were seen to leave it out after a node died."""
        if self._link is None or not self._is_connected():
            return False
        for topic in self._retained:
            self._link.resubscribe(topic)
        return True

    @property
    def dropped(self) -> dict[str, int]:
        """Count by reason what was not taken."""
        return {**self.mailbox.dropped, **self.carrier.dropped}

    def _publish(self, message: Message) -> None:
        if self._link is not None:
            self._link.publish(message)

    def _is_connected(self) -> bool:
        return self._link is not None and self._link.state.state == "connected"
