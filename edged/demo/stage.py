"""What every demo runs: a broker, the daemon, and a connection of our own.

Start order: broker, daemon, our own connection; messages only when the daemon has said
`online`, which it does after it has subscribed. Stop order the other way round.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from edged.clock import Clock
from edged.config.schema import Broker
from edged.demo import settings
from edged.demo.daemon import DaemonProcess
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.receive import Block
from edged.mqtt.topics import DeviceTopics
from edged.service.embedded import EmbeddedBroker

_TOPICS = DeviceTopics(settings.FLEET, settings.DEVICE)

Take = Callable[[bytes, bytes, int], None]


def results_of(pipeline: str) -> str:
    """Give the topic on which a pipeline's results come."""
    return f"{_TOPICS.base}/out/{pipeline}"


class Stage:
    """A demo while it runs; a context, which leaves nothing behind but `config`."""

    def __init__(self, config: Path, listen: Sequence[str], take: Take, clock: Clock, rng: random.Random) -> None:
        """Prepare; nothing runs yet.

        `take` gets topic, payload and monotonic ns of each message on the topics `listen`, in the link's thread.
        """
        self.config = config
        self.online = False
        self._listen = listen
        self._take_message = take
        self._clock = clock
        self._rng = rng

    def __enter__(self) -> Stage:
        """Start the broker and the daemon; raises BoardError where one of them cannot."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edged-demo-")))
            self.socket = folder / "control.sock"
            self.broker = EmbeddedBroker()
            stack.callback(self.broker.stop)
            self.daemon = DaemonProcess(self.config, self._over(folder), folder / "log")
            stack.callback(self.daemon.stop)
            self._link = self._connect()
            stack.callback(self._link.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, also what hangs."""
        self._stack.close()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message to the broker; from any thread."""
        self._link.publish(Message(topic, payload))

    @property
    def waiting(self) -> int:
        """Count messages that the broker has not taken yet."""
        return self._link.waiting

    @property
    def connected(self) -> bool:
        """Say whether results can still come in."""
        return self._link.state.state == "connected"

    def _over(self, folder: Path) -> dict[str, str]:
        """Give what the demo sets over the configuration: its broker, and folders that vanish with it."""
        return {
            "EDGED__MQTT__MAIN__URL": self.broker.url,
            "EDGED__DEVICE__STATE_DIR": str(folder),
            "EDGED__CONTROL__SOCKET": str(self.socket),
            "EDGED__LOG__FORMAT": "console",
        }

    def _connect(self) -> Link:
        broker = Broker(url=self.broker.url, version="3.1.1")
        link = Link("demo", broker, f"edged-demo-{os.getpid()}", self._clock, self._rng, on_block=self._take)
        for topic in (_TOPICS.status, *self._listen):
            link.subscribe(topic, 1)
        link.start()
        return link

    def _take(self, block: Block, connection: int) -> None:
        now = self._clock.mono()
        for topic, payload in zip(block.topics, block.payloads):
            if payload is None:
                continue
            if topic == _TOPICS.status.encode():
                self.online = self.online or b'"online"' in payload
            else:
                self._take_message(topic, payload, now)
        self._link.ack(block.mids, connection)
