"""Everything the demo runs: a broker, the daemon, the sensors, and the ear for results.

Start order: broker, daemon, our own connection; sensors only when the daemon has said
`online`, which it does after it has subscribed. Stop order the other way round.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edged.clock import MS, Clock
from edged.config.schema import Broker
from edged.demo import settings
from edged.demo.daemon import DaemonProcess
from edged.demo.pace import Pace
from edged.demo.recordings import load_recordings
from edged.demo.sender import Sender
from edged.demo.sensor import Sensor
from edged.demo.tally import Scoreboard
from edged.errors import DaemonUnreachable
from edged.models.manifest import load_release
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.receive import Block
from edged.mqtt.topics import DeviceTopics
from edged.service.ask import ask
from edged.service.embedded import EmbeddedBroker
from edged.service.snapshot import Snapshot, read

ANSWER_S = 3.0


@dataclass(frozen=True)
class Plan:
    """What the user asked for: seconds of real time, speed against it, how many sensors."""

    seconds: float
    speed: float
    sensors: int


class Stage:
    """The demo while it runs; a context, which leaves nothing behind but `config`."""

    def __init__(self, plan: Plan, clock: Clock, rng: random.Random, environ: Mapping[str, str]) -> None:
        """Prepare; nothing runs yet. Raises BoardError(`demo-folder`)."""
        self.plan = plan
        self.config = settings.keep(environ)
        input_ = load_release(settings.RELEASE).manifest.input
        self.pace = Pace(input_.samples, input_.hop, input_.rate_hz * plan.speed)
        self.online = False
        self._clock = clock
        self._rng = rng
        self._environ = environ
        self._topics = DeviceTopics(settings.FLEET, settings.DEVICE)
        self._results = f"{self._topics.base}/out/{settings.PIPELINE}".encode()
        # Event time ends at about now, however fast it runs: sensors do not send from the future.
        start_ms = int(clock.wall() // MS - plan.seconds * (plan.speed - 1) * 1000)
        recordings = load_recordings()
        self.sensors = [Sensor(f"band-{i + 1}", recordings, i, input_.rate_hz, start_ms) for i in range(plan.sensors)]
        self.board = Scoreboard(self.sensors)

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
            self._sender = Sender(self.sensors, self.pace.rate_hz, self._clock, self._send, lambda: self._link.waiting)
            stack.callback(self._sender.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, also what hangs."""
        self._stack.close()

    def start_sensors(self) -> None:
        """Let the sensors send."""
        self._sender.start()

    def stop_sensors(self) -> None:
        """Let the sensors fall silent; results still come in."""
        self._sender.stop()

    @property
    def connected(self) -> bool:
        """Say whether results can still come in."""
        return self._link.state.state == "connected"

    @property
    def expected(self) -> int:
        """Count the windows that the readings sent so far complete."""
        return sum(self.pace.completed(tally.sent) for tally in self.board.tallies)

    def status(self) -> Snapshot | None:
        """Ask the daemon how it is; None where it does not answer."""
        try:
            return read(ask(self.socket, "status", ANSWER_S))
        except DaemonUnreachable:
            return None

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
        link.subscribe(self._topics.status, 1)
        link.subscribe(self._results.decode(), 1)
        link.start()
        return link

    def _send(self, sensor: Sensor, number: int) -> None:
        message = Message(settings.topic_of(sensor.name), sensor.payload(number))
        self.board.note_sent(sensor.name, number, self._clock.mono())
        self._link.publish(message)

    def _take(self, block: Block, connection: int) -> None:
        now = self._clock.mono()
        for topic, payload in zip(block.topics, block.payloads):
            if topic == self._results and payload is not None:
                self.board.take(payload, now)
            elif payload is not None and b'"online"' in payload:
                self.online = True
        self._link.ack(block.mids, connection)
