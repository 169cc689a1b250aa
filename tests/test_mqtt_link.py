"""The link to a broker: acknowledgements by hand, outages, bounds, refusals; against a real Mosquitto."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edged.clock import SystemClock
from edged.config.schema import Broker
from edged.mqtt.client import IN_FLIGHT, MESSAGE_LIMIT
from edged.mqtt.link import Link
from edged.mqtt.message import Message, Will
from edged.mqtt.receive import Block
from edged.mqtt.waiting import LIMIT as OUTBOX_LIMIT
from tests.bad_link import BadLink
from tests.broker import Mosquitto, free_port
from tests.descriptors import descriptors
from tests.peer import Peer
from tests.waiting import until
from tests.wire import Wire

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeBroker

pytest_plugins = ["tests.fixtures"]

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])
PLUGIN = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)


class Heard:
    """What a link handed on, by connection, in its order."""

    def __init__(self) -> None:
        self.payloads: dict[int, list[bytes | None]] = {}
        self.mids: dict[int, list[int]] = {}

    def take(self, block: Block, connection: int) -> None:
        self.payloads.setdefault(connection, []).extend(block.payloads)
        self.mids.setdefault(connection, []).extend(block.mids)

    def wait(self, connection: int, count: int) -> list[bytes | None]:
        until(lambda: len(self.payloads.get(connection, [])) >= count, f"{count} messages", lambda: self.payloads)
        return self.payloads[connection]


MakeLink = Callable[..., Link]


@pytest.fixture
def make_link(tmp_path: Path) -> Iterator[MakeLink]:
    """Give a function that makes a link with one client id, the test's own; it is not started yet."""
    made: list[Link] = []

    def make(port: int, version: str = "5", keepalive_s: int = 60, **options: Any) -> Link:
        settings = Broker(url=f"mqtt://127.0.0.1:{port}", version=version, keepalive_s=keepalive_s)  # type: ignore[arg-type]
        made.append(Link("main", settings, tmp_path.name, SystemClock(), random.Random(7), **options))
        return made[-1]

    yield make
    for link in made:
        link.stop(0)


@pytest.fixture
def topic(tmp_path: Path) -> str:
    """Give a topic of the test's own."""
    return tmp_path.name


def connected(link: Link) -> Link:
    until(lambda: link.state.state == "connected", "the link is connected", lambda: link.state)
    return link


def next_connection(link: Link, before: int) -> int:
    until(lambda: link.connection > before and link.state.state == "connected", "a new connection", lambda: link.state)
    return link.connection


def delivered(link: Link) -> None:
    until(lambda: link.waiting == 0, "the broker has everything", lambda: (link.waiting, link.state, link.dropped))


def listening(make_link: MakeLink, port: int, topic: str, version: str, heard: Heard) -> Link:
    """Make a link whose session at the broker has a subscription to `topic`."""
    link = make_link(port, version, on_block=heard.take)
    link.subscribe(topic, 1)
    link.start()
    connected(link)
    # The broker answers packets in their order: when this is acknowledged, the subscription stands.
    link.publish(Message(f"{topic}/subscribed", b""))
    delivered(link)
    return link


# -- in: acknowledged by hand -----------------------------------------------------------------


@VERSIONS
def test_what_was_not_acknowledged_comes_again_on_the_next_connection(
    broker: Mosquitto, make_link: MakeLink, topic: str, version: str
) -> None:
    heard = Heard()
    with Wire(broker.port) as wire, Peer(broker.port) as peer:
        link = listening(make_link, wire.port, topic, version, heard)
        peer.publish_all(topic, map(str, range(10)))
        heard.wait(1, 10)
        link.ack(heard.mids[1][:6], 1)
        link.publish(Message(f"{topic}/sent", b""))  # behind the acknowledgements
        delivered(link)
        wire.cut()
        again = next_connection(link, 1)
        peer.publish(topic, "new")
        assert heard.wait(again, 5) == [b"6", b"7", b"8", b"9", b"new"]


@VERSIONS
def test_an_acknowledgement_of_an_earlier_connection_is_ignored(broker: Mosquitto, make_link: MakeLink, topic: str, version: str) -> None:
    """Packet identifiers begin anew: an old acknowledgement would let go of another message."""
    heard = Heard()
    with Wire(broker.port) as wire, Peer(broker.port) as peer:
        link = listening(make_link, wire.port, topic, version, heard)
        peer.publish_all(topic, ["a", "b"])
        heard.wait(1, 2)
        wire.cut()
        second = next_connection(link, 1)
        assert heard.wait(second, 2) == [b"a", b"b"]
        link.ack(heard.mids[1] + heard.mids[second], 1)
        link.publish(Message(f"{topic}/sent", b""))
        delivered(link)
        wire.cut()
        third = next_connection(link, second)
        assert heard.wait(third, 2) == [b"a", b"b"]


def test_messages_sent_while_the_link_is_down_come_when_it_is_back(make_broker: MakeBroker, make_link: MakeLink, topic: str) -> None:
    broker, heard = make_broker(persistent=True).start(), Heard()
    listening(make_link, broker.port, topic, "5", heard).stop()
    with Peer(broker.port) as peer:
        peer.publish_all(topic, ["1", "2", "3"])
    broker.stop()
    broker.start()
    link = make_link(broker.port, on_block=heard.take)
    link.subscribe(topic, 1)
    link.start()
    assert heard.wait(1, 3) == [b"1", b"2", b"3"]


@VERSIONS
def test_a_message_beyond_the_limit_is_skipped_and_the_next_one_is_not(
    broker: Mosquitto, make_link: MakeLink, topic: str, version: str
) -> None:
    heard = Heard()
    listening(make_link, broker.port, topic, version, heard)
    with Peer(broker.port) as peer:
        peer.publish_all(topic, ["before", b"x" * (3 * MESSAGE_LIMIT), "after"])
        assert heard.wait(1, 3) == [b"before", None, b"after"]
    assert all(heard.mids[1])


@VERSIONS
def test_a_retained_message_is_told_from_a_new_one_and_comes_again_when_asked_for(
    broker: Mosquitto, make_link: MakeLink, topic: str, version: str
) -> None:
    told: list[tuple[bytes | None, bool]] = []
    link = make_link(broker.port, version, on_block=lambda block, _: told.extend(zip(block.payloads, marks(block))))
    with Peer(broker.port) as peer:
        peer.publish(f"{topic}/kept", "old", retain=True)
        link.subscribe(f"{topic}/+", 1)
        link.start()
        until(lambda: told == [(b"old", True)], "what the broker kept", lambda: told)
        peer.publish(f"{topic}/kept", "new", retain=True)
        until(lambda: told[1:] == [(b"new", False)], "what comes now", lambda: told)
        link.resubscribe(f"{topic}/+")
        until(lambda: told[2:] == [(b"new", True)], "what the broker kept, once more", lambda: told)
        peer.publish(f"{topic}/kept", "", retain=True)


def marks(block: Block) -> list[bool]:
    return [i in block.retained for i in range(len(block.topics))]


@VERSIONS
def test_nothing_is_lost_while_a_filter_is_asked_for_again(broker: Mosquitto, make_link: MakeLink, topic: str, version: str) -> None:
    heard = Heard()
    link = listening(make_link, broker.port, topic, version, heard)
    with Peer(broker.port) as peer:
        for first in range(0, 200, 10):  # fewer than the broker lets be without an acknowledgement
            link.resubscribe(topic)
            peer.publish_all(topic, map(str, range(first, first + 10)))
            heard.wait(1, first + 10)
            link.ack(heard.mids[1][first:], 1)
    assert heard.payloads[1] == [b"%d" % i for i in range(200)]


# -- out: nothing lost, nothing without bound -------------------------------------------------


def publish(link: Link, topic: str, first: int, end: int) -> None:
    for i in range(first, end):
        link.publish(Message(topic, b"%d" % i))


@VERSIONS
def test_nothing_is_lost_over_a_stop_or_a_kill_and_restart_of_the_broker(
    make_broker: MakeBroker, make_link: MakeLink, topic: str, version: str
) -> None:
    broker = make_broker(persistent=True).start()
    reader = "reader"
    with Peer(broker.port, topic, client_id=reader):
        pass  # its session stays
    link = make_link(broker.port, version)
    link.start()
    connected(link)
    publish(link, topic, 0, 50)
    delivered(link)
    broker.stop()  # cleanly: what it has acknowledged is its own to keep
    publish(link, topic, 50, 100)
    broker.start()
    delivered(link)
    broker.stop()
    broker.start()
    connected(link)
    broker.signal(signal.SIGSTOP)  # from here on it acknowledges nothing
    publish(link, topic, 100, 150)
    broker.kill()
    publish(link, topic, 150, 200)
    broker.start()
    delivered(link)
    with Peer(broker.port, topic, client_id=reader) as peer:
        until(lambda: len({m.payload for m in peer.messages}) == 200, "all messages", lambda: len(peer.messages))
    # At least once: some may come twice, but never out of order but for that.
    firsts = list(dict.fromkeys(int(message.payload) for message in peer.messages))
    assert firsts == sorted(firsts)
    assert link.dropped == {}


def test_a_qos_0_message_that_a_cut_swallows_does_not_stop_the_ones_after_it(
    make_broker: MakeBroker, make_link: MakeLink, topic: str
) -> None:
    broker = make_broker().start()
    link = make_link(broker.port)
    link.start()
    connected(link)
    for _ in range(3):
        broker.signal(signal.SIGSTOP)  # nothing is read: what is sent stays here
        for _ in range(IN_FLIGHT):
            link.publish(Message(topic, b"x" * 200_000, qos=0))
        broker.kill()
        broker.start()
        connection = link.connection
        next_connection(link, connection - 1)
    with Peer(broker.port, topic) as peer:
        link.publish(Message(topic, b"through", qos=0))
        until(lambda: peer.messages and peer.messages[-1].payload == b"through", "a later message", lambda: (link.waiting, link.dropped))
    delivered(link)
    assert set(link.dropped) == {"connection-lost"}


def test_the_outbox_is_bounded_and_what_it_lets_go_is_counted(broker: Mosquitto, make_link: MakeLink, topic: str) -> None:
    link = make_link(broker.port)
    for i in range(OUTBOX_LIMIT + 25):
        link.publish(Message(topic, b"%d" % i, qos=0))
    assert link.waiting == OUTBOX_LIMIT
    assert link.dropped == {"outbox-full": 25}
    with Peer(broker.port, topic) as peer:
        link.start()
        delivered(link)
        until(lambda: len(peer.messages) == OUTBOX_LIMIT, "what was kept", lambda: len(peer.messages))
        assert [int(message.payload) for message in peer.messages] == list(range(25, OUTBOX_LIMIT + 25))


def test_several_threads_may_publish(broker: Mosquitto, make_link: MakeLink, topic: str) -> None:
    link = make_link(broker.port)
    link.start()
    connected(link)

    def publish(thread: int) -> None:
        for i in range(500):
            link.publish(Message(f"{topic}/{thread}", b"%d" % i, qos=thread % 2))  # MQTT keeps no order between the two

    with Peer(broker.port, f"{topic}/+") as peer:
        threads = [threading.Thread(target=publish, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        delivered(link)
        until(lambda: len(peer.messages) == 2000, "all messages", lambda: len(peer.messages))
    for which in range(4):
        assert [int(message.payload) for message in peer.on(f"{topic}/{which}")] == list(range(500))
    assert link.stop() == 0


def test_stop_waits_for_the_outbox_and_says_what_it_left(make_broker: MakeBroker, make_link: MakeLink, topic: str) -> None:
    broker = make_broker().start()
    with Peer(broker.port, topic) as peer:
        link = make_link(broker.port)
        link.start()
        connected(link)
        for i in range(300):
            link.publish(Message(topic, b"%d" % i))
        assert link.stop(60.0) == 0
        assert len(peer.wait(topic, 300)) == 300
    nobody = make_link(free_port())
    nobody.start()
    nobody.publish(Message(topic, b"never"))
    assert nobody.stop() == 1


# -- refusals ---------------------------------------------------------------------------------


@VERSIONS
def test_a_publish_that_the_broker_refuses_is_counted_where_the_broker_says_so(
    make_broker: MakeBroker, make_link: MakeLink, topic: str, version: str
) -> None:
    broker = make_broker(acl=f"topic write {topic}/allowed\n").start()
    link = make_link(broker.port, version)
    link.start()
    connected(link)
    link.publish(Message(f"{topic}/allowed", b""))
    link.publish(Message(f"{topic}/other", b""))
    delivered(link)
    # 3.1.1 has no word for it: there the broker takes the message and drops it.
    assert link.dropped == ({"publish-refused": 1} if version == "5" else {})


@VERSIONS
def test_a_subscription_that_the_broker_refuses_is_said(make_broker: MakeBroker, make_link: MakeLink, tmp_path: Path, version: str) -> None:
    if PLUGIN is None:
        pytest.skip("needs a broker that refuses subscriptions: mosquitto_dynamic_security.so, of Mosquitto 2")
    rules = tmp_path / "rules.json"
    access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    rules.write_text(json.dumps({"defaultACLAccess": access, "clients": [], "groups": [], "roles": []}))
    broker = make_broker(extra=f"plugin {PLUGIN}\nplugin_opt_config_file {rules}").start()
    link = make_link(broker.port, version)
    link.subscribe("secret", 1)
    link.start()
    until(lambda: link.state.code == "subscription-refused", "the refusal", lambda: (link.state, broker.log))
    assert "the broker refuses a subscription" in link.state.text
    assert link.state.state == "connected"


@VERSIONS
def test_a_wrong_password_is_said_in_plain_words(make_broker: MakeBroker, tmp_path: Path, version: str) -> None:
    broker = make_broker(users={"press-7": "right"}).start()
    settings = Broker(url=f"mqtt://127.0.0.1:{broker.port}", username="press-7", version=version)  # type: ignore[arg-type]
    link = Link("main", settings, tmp_path.name, SystemClock(), random.Random(7), password="wrong")
    link.start()
    until(lambda: link.state.state == "refused", "the refusal", lambda: link.state)
    assert link.state.code == "broker-refused"
    assert "the broker refuses user press-7: wrong user name or password" in link.state.text
    assert "wrong user name or password" in link.state.text
    link.stop(0)


# -- outages ----------------------------------------------------------------------------------


def test_it_connects_when_the_broker_comes_later_and_again_when_it_was_gone(
    make_broker: MakeBroker, make_link: MakeLink, topic: str
) -> None:
    broker, heard = make_broker(), Heard()
    connections: list[bool] = []
    link = make_link(broker.port, on_block=heard.take, on_connected=lambda: connections.append(True))
    link.subscribe(topic, 1)
    link.start()
    until(lambda: link.state.state == "unreachable", "nobody there", lambda: link.state)
    assert link.state.text == f"nothing listens at 127.0.0.1:{broker.port}"
    for _ in range(2):  # this broker forgets its sessions: the subscription must be made anew
        broker.start()
        connected(link)
        link.publish(Message(f"{topic}/subscribed", b""))
        delivered(link)
        with Peer(broker.port) as peer:
            peer.publish(topic, "hello")
        heard.wait(link.connection, 1)
        broker.kill()
        until(lambda: link.state.state == "unreachable", "nobody there", lambda: link.state)
    assert len(connections) == 2


def test_a_broker_that_hangs_is_given_up_after_the_keepalive(make_broker: MakeBroker, make_link: MakeLink) -> None:
    broker = make_broker().start()
    link = make_link(broker.port, keepalive_s=1)
    link.start()
    connected(link)
    broker.signal(signal.SIGSTOP)
    until(lambda: link.state.state in ("disconnected", "unreachable"), "the link sees that nobody answers", lambda: link.state)
    broker.signal(signal.SIGCONT)
    next_connection(link, 1)


def test_no_wait_between_attempts_is_longer_than_asked_for(make_link: MakeLink) -> None:
    """A link that is up for five seconds in thirty must be found up."""
    long, short = make_link(free_port()), make_link(free_port(), longest_wait_s=5.0)
    assert 25 < max(long._backoff.next() for _ in range(100)) <= 30
    assert 4 < max(short._backoff.next() for _ in range(100)) <= 5


def test_a_line_that_is_up_a_sixth_of_the_time_carries_everything(broker: Mosquitto, make_link: MakeLink, topic: str) -> None:
    """As one that is up for 5 s and down for 25 s, ten times as fast."""
    with BadLink(broker.port) as line, Peer(broker.port, topic) as peer:
        link = make_link(line.port, longest_wait_s=0.5)
        line.alternate(0.5, 2.5)
        link.start()
        sent = 0
        while link.connection < 2 or link.state.state != "connected" or peer.messages[-1:] == []:
            link.publish(Message(topic, b"%d" % sent))
            sent += 1
            time.sleep(0.005)
        delivered(link)
        until(lambda: len({message.payload for message in peer.messages}) == sent, "all messages", lambda: len(peer.messages))
    assert link.dropped == {}


def test_each_connection_leaves_a_will_of_its_own(broker: Mosquitto, make_link: MakeLink, topic: str) -> None:
    made: list[int] = []

    def will() -> Will:
        made.append(len(made) + 1)
        return Will(topic, b"%d" % made[-1])

    with Wire(broker.port) as wire, Peer(broker.port, topic) as peer:
        link = make_link(wire.port, will=will)
        link.start()
        connected(link)
        for connection in (1, 2):
            wire.cut()
            next_connection(link, connection)
        assert [message.payload for message in peer.wait(topic, 2)] == [b"1", b"2"]
    link.stop()


def test_it_stops_while_the_broker_has_not_answered_yet(make_link: MakeLink) -> None:
    """As when Ctrl-C comes just after the start: the thread must end, and not be waited for in vain."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(server.getsockname()[1])
        link.start()
        client, _ = server.accept()
        with client:
            assert client.recv(1)[0] >> 4 == 1, "CONNECT"
            link.stop()
    assert link.state.state == "stopped"


@VERSIONS
def test_a_link_that_was_stopped_leaves_nothing_open(broker: Mosquitto, make_link: MakeLink, version: str) -> None:
    before = descriptors()
    link = make_link(broker.port, version)
    link.start()
    connected(link)
    link.stop()
    assert not descriptors() - before


def test_a_small_message_does_not_wait_for_the_one_before(broker: Mosquitto, make_link: MakeLink, topic: str) -> None:
    """With Nagle's algorithm a result that follows an acknowledgement waits 40 ms for the broker's delayed ACK."""
    link = make_link(broker.port)
    link.start()
    assert connected(link)._client.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
