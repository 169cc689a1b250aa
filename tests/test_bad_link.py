"""The bad link of the tests does what it says: else what was tested over it was not."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bad_link import BadLink, Traffic
from tests.broker import Mosquitto, free_port
from tests.packets import Packets
from tests.peer import Peer
from tests.waiting import PATIENCE_S, until

pytest_plugins = ["tests.fixtures"]

CONNACK = b"\x20\x02\x00\x00"
PINGRESP = b"\xd0\x00"


def publish(topic: bytes, payload: bytes, qos: int = 0) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + (b"\x00\x07" if qos else b"") + payload
    length, rest = b"", len(body)
    while True:
        rest, byte = divmod(rest, 128)
        length += bytes([byte | (0x80 if rest else 0)])
        if not rest:
            return bytes([0x30 | qos << 1]) + length + body


class Judge:
    """Takes out what is on the topic `lost`."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []

    def __call__(self, topic: str, qos: int, size: int) -> bool:
        self.heard.append((topic, qos, size))
        return topic != "lost"


# -- packets ----------------------------------------------------------------------------------


def test_a_packet_is_taken_out_whole_wherever_the_stream_is_cut() -> None:
    kept = [CONNACK, publish(b"a/blob/dat/1", b"x" * 300), PINGRESP, publish(b"b", b"", 1), PINGRESP]
    lost = publish(b"lost", b"\x30" * 200)
    whole = b"".join([kept[0], lost, kept[1], kept[2], lost, lost, *kept[3:], lost])
    expected = [("lost", 0, len(lost)), ("a/blob/dat/1", 0, len(kept[1]))] + [("lost", 0, len(lost))] * 2
    expected += [("b", 1, len(kept[3])), ("lost", 0, len(lost))]
    for first in range(len(whole)):
        for second in range(first, len(whole), 41):
            judge = Judge()
            packets = Packets(judge)
            assert b"".join(map(packets.feed, (whole[:first], whole[first:second], whole[second:]))) == b"".join(kept)
            assert judge.heard == expected


@settings(deadline=None)
@given(st.sampled_from([b"", CONNACK, b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"]), st.lists(st.binary(max_size=60), max_size=8))
def test_what_is_not_judged_passes_unchanged_whatever_it_is(beginning: bytes, chunks: list[bytes]) -> None:
    packets = Packets(lambda *_: True)
    out = packets.feed(beginning) + b"".join(map(packets.feed, chunks))
    whole = beginning + b"".join(chunks)
    assert whole.startswith(out)
    assert whole == out + packets._head


# -- over a real broker -----------------------------------------------------------------------


@pytest.fixture
def link(broker: Mosquitto) -> Iterator[BadLink]:
    with BadLink(broker.port) as link:
        yield link


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("chance", [0.01, 0.1, 0.3])
def test_so_many_messages_are_lost_and_no_other_is(
    broker: Mosquitto, link: BadLink, request: pytest.FixtureRequest, version: str, chance: float
) -> None:
    base = request.node.name
    link.lose("/blob/dat/", chance)
    with Peer(link.port, f"{base}/#", version=version) as near, Peer(broker.port) as far:
        for _ in range(10):
            far.publish_all(f"{base}/blob/dat/7", [b"x" * 300] * 100, qos=0)
            far.publish_all(f"{base}/desired", [b"y"] * 10, qos=0)
            far.publish_all(f"{base}/blob/dat/end", [b"z"], qos=1)
        near.wait(f"{base}/blob/dat/end", 10)
        there = link.to_client(f"{base}/blob/dat/7")
        assert len(near.on(f"{base}/blob/dat/7")) == there.messages
        assert len(near.on(f"{base}/desired")) == 100
    assert there.messages + there.lost == 1000
    assert chance * 1000 * 0.4 <= there.lost <= chance * 1000 * 1.6
    assert there.lost_bytes == there.lost * (there.bytes // there.messages)
    assert link.to_client(f"{base}/blob/dat/end").lost == 0


def test_the_same_seed_loses_the_same_messages(broker: Mosquitto, link: BadLink, request: pytest.FixtureRequest) -> None:
    base = request.node.name
    heard = []
    for run in range(2):
        link.lose(f"{base}/dat", 0.3, seed=5)
        with Peer(link.port, f"{base}/#") as near, Peer(broker.port) as far:
            far.publish_all(f"{base}/dat", map(str, range(200)), qos=0)
            far.publish(f"{base}/end/{run}", "")
            near.wait(f"{base}/end/{run}")
            heard.append([message.payload for message in near.on(f"{base}/dat")])
    assert heard[0] == heard[1]
    assert 0 < len(heard[0]) < 200


def test_bytes_are_counted_by_way_and_topic(broker: Mosquitto, link: BadLink, request: pytest.FixtureRequest) -> None:
    base = request.node.name
    with Peer(link.port, f"{base}/back", version="3.1.1") as near, Peer(broker.port, f"{base}/out/+") as far:
        near.publish_all(f"{base}/out/a", [b"x" * 1000] * 3)
        near.publish_all(f"{base}/out/b", [b"x" * 500], qos=0)
        far.publish(f"{base}/back", b"y" * 100)
        near.wait(f"{base}/back")
        far.wait(f"{base}/out/b")
    topic = len(base) + len("/out/a")
    assert link.to_broker(f"{base}/out/+") == Traffic(4, 3 * (3 + 2 + topic + 2 + 1000) + 3 + 2 + topic + 500)
    assert link.to_broker(f"{base}/out/b").messages == 1
    assert link.to_client("#").messages == 1
    assert link.bytes_to_broker > 3500 > link.bytes_to_client > 100


# -- over a plain socket ----------------------------------------------------------------------


class Echo:
    """A server that sends back what it gets, and greets with its name; use it as a context."""

    def __init__(self, name: bytes = b"") -> None:
        self._name = name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = int(self._listener.getsockname()[1])
        self._run(self._accept)

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE_S)
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _run(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.sendall(self._name)
            while data := client.recv(1 << 16):
                client.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo


def connect(link: BadLink) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), PATIENCE_S)


def ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    got = b""
    while len(got) < len(data) and (more := client.recv(1 << 16)):
        got += more
    return got


def test_a_cut_ends_what_stands_and_lets_new_ones_in(echo: Echo) -> None:
    with BadLink(echo.port) as link, connect(link) as old:
        assert ask(old, b"hello") == b"hello"
        link.cut()
        with pytest.raises(ConnectionResetError):
            old.recv(1)
        with connect(link) as new:
            assert ask(new, b"again") == b"again"
            assert (link.accepted, link.open) == (2, 1)


def test_a_link_that_is_down_refuses_and_one_that_is_up_again_has_the_same_port(echo: Echo) -> None:
    with BadLink(echo.port) as link:
        for _ in range(3):
            with connect(link) as old:
                assert ask(old, b"hello") == b"hello"
                link.down()
                link.down()
                with pytest.raises(ConnectionResetError):
                    old.recv(1)
            with pytest.raises(ConnectionRefusedError):
                connect(link)
            link.up()


def test_a_link_goes_up_and_down_by_itself(echo: Echo) -> None:
    with BadLink(echo.port) as link:

        def is_up() -> bool:
            try:
                with connect(link) as client:
                    return ask(client, b"x") == b"x"
            except OSError:
                return False

        link.alternate(0.2, 0.2)
        for _ in range(3):
            until(is_up, "up")
            until(lambda: not is_up(), "down")
        link.steady()
        assert is_up()


def test_a_frozen_link_says_nothing_and_loses_nothing(echo: Echo) -> None:
    with BadLink(echo.port) as link, connect(link) as client:
        assert ask(client, b"before") == b"before"
        link.freeze()
        client.sendall(b"during")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        link.thaw()
        client.settimeout(PATIENCE_S)
        client.sendall(b" after")
        got = b""
        while len(got) < len(b"during after"):
            got += client.recv(100)
        assert got == b"during after"


def test_it_leads_to_the_first_broker_that_takes_the_connection_and_to_others_when_told(echo: Echo) -> None:
    with Echo(b"one") as one, Echo(b"two") as two, BadLink(free_port(), one.port) as link:
        with connect(link) as client:
            assert client.recv(10) == b"one"
            link.use(two.port)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with connect(link) as client:
            assert client.recv(10) == b"two"


def test_a_link_is_not_faster_than_asked_for(echo: Echo) -> None:
    """Faster it must never be; how much slower depends on the machine."""
    with BadLink(echo.port) as link:
        link.set(round_trip_s=0.2)
        with connect(link) as client:
            start = time.monotonic()
            assert ask(client, b"x") == b"x"
            assert time.monotonic() - start >= 0.2
        link.set(rate=200_000)
        with connect(link) as client:
            start = time.monotonic()
            assert ask(client, b"x" * 60_000) == b"x" * 60_000
            assert time.monotonic() - start >= 0.3
        link.set()
        with connect(link) as client:
            data = random.Random(3).randbytes(3_000_000)
            threading.Thread(target=client.sendall, args=(data,)).start()
            got = b""
            while len(got) < len(data):
                got += client.recv(1 << 20)
            assert got == data
