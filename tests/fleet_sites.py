"""A broker with the rules that `edged fleet acl` prints, and users of it, for the tests of those rules."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner

from edged.clock import SystemClock
from edged.config.schema import Broker
from edged.mqtt.link import Link
from edged.mqtt.message import Message, Will
from edged.mqtt.receive import Block
from tests.broker import Mosquitto, Tls
from tests.nats import NatsCluster
from tests.waiting import until

FLEET = "plant"
DEVICES = ("press-7", "press-8")
MANAGER = "fleet-manager"
TRUSTED = "trusted"  # may do everything: the eyes and the hand of the test
USERS = {name: f"password of {name}" for name in (*DEVICES, MANAGER, TRUSTED)}


class User:
    """A link with one user's credentials, which keeps what it hears."""

    def __init__(self, broker: Broker, client_id: str, password: str, filters: dict[str, int], will: Will | None = None) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.kept: set[str] = set()
        self.link = Link(
            client_id,
            broker,
            client_id,
            SystemClock(),
            random.Random(7),
            password=password,
            on_block=self._take,
            keep_session=False,
            will=(lambda: will) if will else None,
            longest_wait_s=1.0,
        )
        for topic_filter, qos in filters.items():
            self.link.subscribe(topic_filter, qos)
        self.link.start()

    def connected(self) -> User:
        until(lambda: self.link.state.state == "connected", "connected", lambda: self.link.state)
        return self

    def publish(self, *topics: str, payload: bytes = b"x", retain: bool = False, qos: int = 1) -> None:
        """Publish, and wait until the broker has answered each."""
        for topic in topics:
            self.link.publish(Message(topic, payload, qos, retain))
        until(lambda: self.link.waiting == 0, "the broker's answers", lambda: (self.link.state, self.link.dropped))

    def wait(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        """Wait for a message; give all that came by then."""
        until(lambda: (topic, payload) in self.heard, f"{payload!r} on {topic}", lambda: (self.link.state, self.heard))
        return list(self.heard)

    def _take(self, block: Block, connection: int) -> None:
        topics = [topic.decode() for topic in block.topics]
        self.kept |= {topics[i] for i in block.retained}
        self.heard += [(topic, payload or b"") for topic, payload in zip(topics, block.payloads)]
        self.link.ack(block.mids, connection)


@dataclass
class Place:
    """A broker with rules. `says_no`: it tells a publisher of a refusal."""

    port: int
    version: str
    tls: Tls | None = None
    passwords: bool = True
    says_no: bool = False
    users: list[User] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None
    native_port: int = 0  # of a broker that speaks more than MQTT

    def user(self, name: str, *filters: str, qos: int = 1, port: int = 0, will: Will | None = None, suffix: str = "") -> User:
        """Connect one; `suffix` tells connections of the same user apart."""
        broker = self.broker(name, self.tls and self.tls.issue(name), port)
        return self.begin(broker, USERS[name] if self.passwords else "", *filters, qos=qos, will=will, suffix=suffix).connected()

    def broker(self, name: str, own: Tls | None = None, port: int = 0) -> Broker:
        """Give the settings of one who shows a name, or a certificate, or neither."""
        url = f"mqtt{'s' if self.tls else ''}://127.0.0.1:{port or self.port}"
        ca = str(self.tls.ca) if self.tls else ""
        files = {"cert_file": str(own.cert), "key_file": str(own.key)} if own else {}
        return Broker(url=url, version=self.version, username=name if self.passwords else "", ca_file=ca, **files)  # type: ignore[arg-type]

    def begin(self, broker: Broker, password: str, *filters: str, qos: int = 1, will: Will | None = None, suffix: str = "") -> User:
        """Begin to connect one who may be turned away."""
        client_id = f"client-{broker.username or Path(broker.cert_file).stem}{suffix}"
        self.users.append(User(broker, client_id, password, dict.fromkeys(filters, qos), will))
        return self.users[-1]

    def close(self) -> None:
        for user in self.users:
            user.link.stop(0)
        self.stop()


def open_place(kind: str, folder: Path, authority: Callable[[], Tls]) -> Place:
    """Start a broker. `kind`: `mosquitto-VERSION-password`, `mosquitto-VERSION-certificate` or `nats`."""
    if kind == "nats":
        return _nats(folder)
    _, version, proof = kind.split("-")
    rules = printed_rules("mosquitto") + f"\nuser {TRUSTED}\ntopic readwrite #\n"
    if proof == "certificate":
        tls = authority()
        broker = Mosquitto(folder, acl=rules, tls=tls, mutual=True).start()
        place = Place(broker.port, version, tls, passwords=False)
    else:
        broker = Mosquitto(folder, acl=rules, users=USERS).start()
        place = Place(broker.port, version)
    place.says_no, place.stop = version == "5", broker.kill
    return place


def _nats(folder: Path) -> Place:
    text = printed_rules("nats")
    text = re.sub(r'(user: "([^"]+)", password: )"CHANGE-ME"', lambda match: f'{match[1]}"{USERS[match[2]]}"', text)
    text = text.replace("users = [", f'users = [\n    {{ user: "{TRUSTED}", password: "{USERS[TRUSTED]}" }}', 1)
    cluster = NatsCluster(folder, 1, text, TRUSTED, USERS[TRUSTED]).start()
    return Place(cluster.ports[0], "3.1.1", stop=cluster.stop, native_port=cluster.nodes[0].native_port)


def printed_rules(broker: str) -> str:
    """Give what the command prints for the fleet of these tests."""
    from edged.cli.main import cli

    devices = [argument for device in DEVICES for argument in ("--device", device)]
    done = CliRunner().invoke(cli, ["fleet", "acl", "--broker", broker, "--fleet", FLEET, "--manager", MANAGER, *devices])
    assert done.exit_code == 0, done.output
    return done.output
