"""The link with a cluster of NATS nodes, one of which dies: nothing is lost, and what is retained comes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from edged.clock import SystemClock
from edged.config.schema import Broker
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.receive import Block
from tests.bad_link import BadLink
from tests.nats import NatsCluster, NatsNode
from tests.waiting import until

if TYPE_CHECKING:
    from tests.fixtures import MakeNats

pytest_plugins = ["tests.fixtures"]

ASK_AGAIN_S = 2.0
METADATA = [f"edged/1/plant/_repo/targets/{i}" for i in range(20)]
METADATA_FILTER = "edged/1/plant/_repo/#"


class Client:
    """A link that acknowledges what it hears, and keeps it with the time it came."""

    def __init__(self, name: str, port: int, *filters: str) -> None:
        settings = Broker(url=f"mqtt://127.0.0.1:{port}", version="auto")
        self.link = Link(name, settings, name, SystemClock(), random.Random(7), on_block=self._take, longest_wait_s=5.0)
        self.heard: list[tuple[float, str, bytes | None]] = []
        self.kept: dict[str, bytes | None] = {}
        self._asked = time.monotonic()
        for each in filters:
            self.link.subscribe(each, 1)
        self.link.start()

    def connected(self) -> Client:
        until(lambda: self.link.state.state == "connected", "the link is connected", lambda: self.link.state)
        return self

    def subscribed(self, topic: str) -> Client:
        """Wait until a message of its own comes back: its subscription stands."""
        self.publish(topic, b"mine")
        until(lambda: self.heard, "the link's own message", lambda: self.link.state)
        self.heard.clear()
        return self

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.link.publish(Message(topic, payload, retain=retain))

    def delivered(self) -> None:
        until(lambda: self.link.waiting == 0, "the broker has everything", lambda: (self.link.waiting, self.link.state))

    def payloads(self) -> list[bytes | None]:
        return [payload for _, _, payload in list(self.heard)]

    def has_kept(self, topics: list[str], topic_filter: str) -> bool:
        """Say whether all these retained messages are in; ask for them again now and then."""
        if time.monotonic() - self._asked > ASK_AGAIN_S:
            self.link.resubscribe(topic_filter)
            self._asked = time.monotonic()
        return self.kept.keys() >= set(topics)

    def _take(self, block: Block, connection: int) -> None:
        now = time.monotonic()
        topics = [topic.decode() for topic in block.topics]
        self.heard += [(now, topic, payload) for topic, payload in zip(topics, block.payloads)]
        self.kept.update((topics[i], block.payloads[i]) for i in block.retained)
        self.link.ack(block.mids, connection)


class Site:
    """A cluster, and clients that end with the test."""

    def __init__(self, cluster: NatsCluster) -> None:
        self.cluster = cluster
        self._clients: list[Client] = []

    def client(self, name: str, port: int, *filters: str) -> Client:
        self._clients.append(Client(name, port, *filters))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.link.stop(0)


@pytest.fixture
def site(make_nats: MakeNats) -> Iterator[Site]:
    site = Site(make_nats().start())
    yield site
    site.close()


def test_the_link_finds_by_itself_the_version_that_nats_speaks(site: Site) -> None:
    client = site.client("board", site.cluster.ports[0]).connected()
    assert client.link.version == "3.1.1"


def test_messages_go_both_ways_between_nodes_in_their_order(site: Site) -> None:
    first = site.client("first", site.cluster.ports[0], "t/to-first").subscribed("t/to-first")
    third = site.client("third", site.cluster.ports[2], "t/to-third").subscribed("t/to-third")
    payloads = [b"%d" % i for i in range(100)]
    for payload in payloads:
        first.publish("t/to-third", payload)
        third.publish("t/to-first", payload)
    until(lambda: len(first.heard) >= 100 and len(third.heard) >= 100, "both have all")
    assert first.payloads() == third.payloads() == payloads


def test_what_one_node_retains_the_others_give(site: Site) -> None:
    first = site.client("first", site.cluster.ports[0])
    for topic in METADATA:
        first.publish(topic, topic.encode() * 50, retain=True)
    first.delivered()
    for i in (1, 2):
        other = site.client(f"other{i}", site.cluster.ports[i], METADATA_FILTER)
        until(lambda other=other: other.has_kept(METADATA, METADATA_FILTER), "all metadata", lambda other=other: other.kept)  # type: ignore[misc]
        assert other.kept == {topic: topic.encode() * 50 for topic in METADATA}


def test_what_came_while_the_link_was_away_comes_through_another_node(site: Site) -> None:
    first, second, third = site.cluster.ports
    site.client("board", first, "t/board").subscribed("t/board").link.stop()
    sender = site.client("sender", third)
    for i in range(40):
        sender.publish("t/board", b"%d" % i)
    sender.delivered()
    board = site.client("board", second, "t/board")
    until(lambda: len(board.heard) >= 40, "what waited", lambda: board.heard)
    assert board.payloads() == [b"%d" % i for i in range(40)]


class Sender:
    """Publishes numbers, a hundred a second, until it is told to stop."""

    def __init__(self, client: Client, topic: str) -> None:
        self._client, self._topic = client, topic
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.sent

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self._client.publish(self._topic, b"%d" % self.sent)
            self.sent += 1


def nodes_by_role(cluster: NatsCluster, victim: str) -> tuple[NatsNode, NatsNode, NatsNode]:
    """Give the node that will die, and the two others."""
    leader = cluster.leader()
    followers = [node for node in cluster.nodes if node is not leader]
    return (leader, *followers) if victim == "leader" else (followers[0], followers[1], leader)  # type: ignore[return-value]


@pytest.mark.parametrize("victim", ["leader", "follower"])
def test_publishing_and_what_is_retained_survive_the_death_of_a_node(site: Site, victim: str) -> None:
    dying, second, third = nodes_by_role(site.cluster, victim)
    hearer = site.client("hearer", third.port, "t/x").subscribed("t/x")
    with BadLink(dying.port, second.port) as way:  # the one name that stands for the nodes
        board = site.client("board", way.port).connected()
        for topic in METADATA:
            board.publish(topic, topic.encode() * 50, retain=True)
        board.delivered()
        sender = Sender(board, "t/x")
        until(lambda: len(hearer.heard) > 50, "messages before")
        killed = time.monotonic()
        dying.kill()
        newcomer = site.client("newcomer", second.port, METADATA_FILTER)
        until(lambda: newcomer.has_kept(METADATA, METADATA_FILTER), "all metadata", lambda: newcomer.kept)
        kept_after = time.monotonic() - killed
        until(lambda: hearer.heard[-1][0] > killed + 1, "messages after", lambda: board.link.state)
        sent = sender.stop()
        board.delivered()
        until(lambda: len(set(hearer.payloads())) == sent, "all messages", lambda: (sent, len(hearer.heard)))
        site.close()
    firsts = list(dict.fromkeys(hearer.payloads()))
    assert firsts == [b"%d" % i for i in range(sent)]  # at least once: one may come twice, but never late
    assert board.link.dropped == {}
    gap = max(after[0] - before[0] for before, after in zip(hearer.heard, hearer.heard[1:]))
    twice = len(hearer.heard) - sent
    print(f"{victim} killed: {sent} sent, {twice} came twice, none for {gap:.1f} s, metadata after {kept_after:.1f} s")


def test_a_node_that_was_killed_comes_back_and_serves(site: Site) -> None:
    """What is retained before it dies: what a cluster takes while it looks for a leader, it may acknowledge and not retain."""
    dying, second, _ = nodes_by_role(site.cluster, "leader")
    board = site.client("board", second.port)
    board.publish("t/kept", b"before it died", retain=True)
    board.delivered()
    dying.kill()
    dying.start()
    site.cluster.wait()
    late = site.client("late", dying.port, "t/kept")
    until(lambda: late.has_kept(["t/kept"], "t/kept"), "what is retained", lambda: late.link.state)


def test_nothing_is_lost_when_all_nodes_are_killed_and_start_again(site: Site) -> None:
    with BadLink(*site.cluster.ports) as way:
        board = site.client("board", way.port, "t/own").subscribed("t/own")
        board.publish("t/kept", b"before", retain=True)
        board.delivered()
        site.cluster.stop()
        for i in range(100):
            board.publish("t/own", b"%d" % i)
        for node in site.cluster.nodes:
            node.start()
        board.delivered()
        until(lambda: len(set(board.payloads())) >= 100, "all messages", lambda: board.payloads())
        reader = site.client("reader", site.cluster.ports[1], "t/kept")
        until(lambda: reader.has_kept(["t/kept"], "t/kept"), "what is retained", lambda: reader.link.state)
        site.close()
    assert board.link.dropped == {}
