"""Blobs over MQTT: through a real Mosquitto, and past servers that lie, flood, fall silent or are busy."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edged.clock import NS, SystemClock, VirtualClock
from edged.config.schema import Broker
from edged.errors import Cancelled, PeerError
from edged.exchange.blobs import FRAGMENT, MAX_FRAGMENT, encode_data, encode_refusal, parse_request
from edged.exchange.pieces import PIECE
from edged.fleet.transfer.carriers import inbox
from edged.fleet.transfer.carriers.folder import FolderCarrier
from edged.fleet.transfer.carriers.mqtt import MqttCarrier
from edged.mqtt.link import Link
from edged.mqtt.topics import DeviceTopics
from tests.broker import Mosquitto
from tests.transfers import TOPICS, Blob, Server, bring, transfer
from tests.waiting import until

pytest_plugins = ["tests.fixtures"]

BLOB = Blob.random(4 * PIECE + 99)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(BLOB.all()) as server:
        yield server


def ratio(received: int) -> float:
    return received / (len(BLOB.data) + len(BLOB.index))


# -- without a broker -----------------------------------------------------------------------------


def test_all_arrives_though_one_in_twenty_is_lost_and_hardly_a_byte_comes_twice(tmp_path: Path, server: Server):
    rng = random.Random(1)
    server.lose = lambda _offset: rng.random() < 0.05
    it = transfer(tmp_path / "in", server.carrier, clock=SystemClock())
    assert bring(it, BLOB) == BLOB.data
    assert ratio(it.received) <= 1.05


def test_few_requests_ask_for_many_fragments_across_pieces(tmp_path: Path, server: Server):
    assert bring(transfer(tmp_path / "in", server.carrier, clock=SystemClock()), BLOB) == BLOB.data
    assert len(server.requests) < 40
    assert any(each.off // PIECE < (each.off + each.len - 1) // PIECE for each in server.requests)


def test_a_tampered_piece_costs_one_piece_and_another_server_goes_on(tmp_path: Path, server: Server):
    other = Server(BLOB.all(), number=8)
    other.send = server.send  # type: ignore[method-assign]
    server.others = [other]
    server.spoil = lambda offset, data: data[::-1] if offset == 2 * PIECE + FRAGMENT else data
    with other:
        it = transfer(tmp_path / "in", server.carrier, clock=SystemClock())
        assert bring(it, BLOB) == BLOB.data
    assert it.damaged <= 2
    assert it.received <= len(BLOB.data) + len(BLOB.index) + it.damaged * PIECE + 8 * FRAGMENT


def test_of_two_servers_one_dies_and_the_other_goes_on(tmp_path: Path, server: Server):
    other = Server(BLOB.all(), number=8)
    other.send = server.send  # type: ignore[method-assign]
    server.others = [other]
    count = [0]

    def lose(_offset: int) -> bool:
        count[0] += 1
        return count[0] > 30

    server.lose = lose
    with other:
        assert bring(transfer(tmp_path / "in", server.carrier, clock=SystemClock()), BLOB) == BLOB.data
    assert len(other.requests) > 2
    assert {each.server for each in other.requests} == {0, 8}


def test_what_no_server_has_is_not_found(tmp_path: Path, server: Server):
    server.blobs = {}
    with pytest.raises(PeerError) as raised:
        bring(transfer(tmp_path / "in", server.carrier, clock=SystemClock()), BLOB)
    assert raised.value.code == "blob-not-found"


def test_a_busy_server_is_waited_for(tmp_path: Path, server: Server):
    server.refusal = "busy"

    def cancelled() -> bool:
        if len(server.requests) > 2:
            server.refusal = ""
        return False

    assert bring(transfer(tmp_path / "in", server.carrier, clock=SystemClock()), BLOB, cancelled) == BLOB.data


class Alone:
    """A carrier whose time is virtual: it waits by advancing the clock, and `published` are its requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = VirtualClock()
        self.published: list[Any] = []
        self.up = lambda: True
        self.answer: Callable[[Any], None] = lambda _request: None
        self.carrier = MqttCarrier(TOPICS, self._publish, lambda: self.up(), random.Random(3))
        monkeypatch.setattr(inbox.Inbox, "wait", lambda _self, timeout_s: self.clock.advance(max(1, int(timeout_s * NS))))

    def _publish(self, message: Any) -> None:
        request = parse_request(message.payload)
        self.published.append(request)
        self.answer(request)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Alone:
    return Alone(monkeypatch)


def test_nobody_answers_for_half_a_minute_and_few_requests_are_made(tmp_path: Path, alone: Alone):
    with pytest.raises(PeerError) as raised:
        bring(transfer(tmp_path / "in", alone.carrier, clock=alone.clock), BLOB)
    assert raised.value.code == "no-server"
    assert 30 <= alone.clock.mono() / NS < 31
    assert len(alone.published) == 4  # at 0, 3, 9 and 21 s
    assert {(each.server, each.len) for each in alone.published} == {(0, len(BLOB.index))}


def test_all_servers_are_busy_for_a_minute(tmp_path: Path, alone: Alone):
    alone.answer = lambda request: alone.carrier.received(encode_refusal(request.sid, 7, request.off, "busy"))
    with pytest.raises(PeerError) as raised:
        bring(transfer(tmp_path / "in", alone.carrier, clock=alone.clock), BLOB)
    assert raised.value.code == "no-server"
    assert 60 <= alone.clock.mono() / NS < 61
    assert len(alone.published) < 20


def test_nothing_is_asked_for_while_there_is_no_connection(tmp_path: Path, alone: Alone):
    alone.up = lambda: False
    with pytest.raises(PeerError) as raised:
        bring(transfer(tmp_path / "in", alone.carrier, clock=alone.clock), BLOB)
    assert raised.value.code == "offline"
    assert alone.published == []


def test_data_without_end_takes_no_memory_and_ends_as_nobody_answering(tmp_path: Path, alone: Alone):
    """Fragments of the right download at places that nobody asked for, for ever."""
    most = [0]

    def flood(request: Any) -> None:
        for number in range(300):
            alone.carrier.received(encode_data(request.sid, 7, (number + 50) * PIECE, bytes(FRAGMENT)))
        most[0] = max(most[0], len(alone.carrier._inbox._waiting))  # type: ignore[union-attr]

    alone.answer = flood
    it = transfer(tmp_path / "in", alone.carrier, clock=alone.clock)
    with pytest.raises(PeerError):
        bring(it, BLOB)
    assert most[0] == inbox.ROOM
    assert alone.carrier.dropped["flood"] > 0
    assert alone.carrier.dropped["unasked"] > 0
    assert it.received >= 300 * FRAGMENT


def test_messages_of_other_downloads_and_none_are_dropped_and_counted(tmp_path: Path, alone: Alone):
    def answer(request: Any) -> None:
        for payload in (
            encode_data(request.sid ^ 1, 7, request.off, bytes(FRAGMENT)),
            encode_data(request.sid, 7, request.off, bytes(FRAGMENT + 1)),
            encode_data(request.sid, 7, request.off, bytes(MAX_FRAGMENT + 1)),
            b"",
            b"eb",
        ):
            alone.carrier.received(payload)

    alone.answer = answer
    with pytest.raises(PeerError):
        bring(transfer(tmp_path / "in", alone.carrier, clock=alone.clock), BLOB)
    assert alone.carrier.dropped == {"unasked": 8, "malformed": 12}
    alone.carrier.received(encode_data(5, 7, 0, b"x"))  # no download at all
    assert alone.carrier.dropped["unasked"] == 9


@given(payload=st.binary(max_size=200))
def test_any_bytes_are_taken_as_a_message(payload: bytes):
    MqttCarrier(TOPICS, lambda _message: None, lambda: True, random.Random(1)).received(payload)


def test_what_came_while_the_disk_was_slow_is_not_asked_for_again(tmp_path: Path, alone: Alone):
    def answer(request: Any) -> None:
        view = memoryview(BLOB.all()[request.sha256])
        for offset in range(request.off, request.off + request.len, request.frag):
            end = min(offset + request.frag, request.off + request.len)
            alone.carrier.received(encode_data(request.sid, 7, offset, view[offset:end]))

    alone.answer = answer
    it = transfer(tmp_path / "in", alone.carrier, clock=alone.clock)
    it.bring(BLOB.seal, BLOB.index_sha256, lambda _done: alone.clock.advance(40 * NS), lambda: False)
    assert it.received == len(BLOB.data) + len(BLOB.index)


def test_signs_of_life_without_bytes_are_no_answer(tmp_path: Path, alone: Alone):
    def answer(request: Any) -> None:
        if request.len == len(BLOB.index):
            alone.carrier.received(encode_data(request.sid, 7, 0, BLOB.index))
        alone.carrier.received(encode_data(request.sid, 7, 40 * PIECE, b"alive"))

    alone.answer = answer
    with pytest.raises(PeerError) as raised:
        bring(transfer(tmp_path / "in", alone.carrier, clock=alone.clock), BLOB)
    assert raised.value.code == "no-server"
    assert alone.clock.mono() / NS < 31


def test_a_folder_goes_on_where_mqtt_fell_silent(tmp_path: Path, alone: Alone):
    def answer(request: Any) -> None:
        view = memoryview(BLOB.all()[request.sha256])
        for offset in range(request.off, request.off + request.len, request.frag):
            if offset < 2 * PIECE:
                end = min(offset + request.frag, request.off + request.len)
                alone.carrier.received(encode_data(request.sid, 7, offset, view[offset:end]))

    alone.answer = answer
    BLOB.lay(tmp_path / "stick")
    it = transfer(tmp_path / "in", alone.carrier, FolderCarrier(tmp_path / "stick"), clock=alone.clock)
    assert bring(it, BLOB) == BLOB.data
    assert it.received == len(BLOB.data) + len(BLOB.index)


# -- with one -------------------------------------------------------------------------------------


class Board:
    """A link with a carrier, as the service joins them."""

    def __init__(self, port: int, device: str) -> None:
        self.topics = DeviceTopics("site", device)
        broker = Broker(url=f"mqtt://127.0.0.1:{port}")
        self.link = Link("main", broker, device, SystemClock(), random.Random(7), on_block=self._take, keep_session=False)
        self.carrier = MqttCarrier(self.topics, self.link.publish, lambda: self.link.state.state == "connected", random.Random(8))
        self.link.subscribe(self.topics.blob_data("+"), 0)
        self.link.start()

    def _take(self, block: Any, connection: int) -> None:
        for payload, mid in zip(block.payloads, block.mids):
            if payload is not None:
                self.carrier.received(payload)
            if mid:
                self.link.ack([mid], connection)


class Responder:
    """A server of blobs over a broker, as small as can be."""

    def __init__(self, port: int, topics: DeviceTopics, blobs: dict[str, bytes]) -> None:
        self.count = 0
        self._topics, self._blobs = topics, blobs
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self._answer(message.payload)
        self._client.on_connect = lambda *_: self._client.subscribe(topics.blob_request, 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._ready.wait()

    def _answer(self, payload: bytes) -> None:
        request = parse_request(payload)
        view = memoryview(self._blobs[request.sha256])
        for offset in range(request.off, request.off + request.len, request.frag):
            self.count += 1
            part = view[offset : min(offset + request.frag, request.off + request.len)]
            self._client.publish(self._topics.blob_data(request.sid), encode_data(request.sid, 7, offset, part), 0)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_a_blob_comes_through_a_broker(broker: Mosquitto, tmp_path: Path):
    blob = Blob.random(20 * PIECE + 1)
    board = Board(broker.port, tmp_path.name)
    responder = Responder(broker.port, board.topics, blob.all())
    try:
        it = transfer(tmp_path / "in", board.carrier, clock=SystemClock())
        assert bring(it, blob) == blob.data
        assert it.received / len(blob.data) < 1.05
    finally:
        board.link.stop()
        responder.stop()


def test_a_broker_that_ends_amid_a_download_is_waited_for(make_broker: Callable[..., Mosquitto], tmp_path: Path):
    blob = Blob.random(20 * PIECE + 1)
    broker = make_broker().start()
    board = Board(broker.port, tmp_path.name)
    responder = Responder(broker.port, board.topics, blob.all())
    done: list[int] = []

    def restart() -> None:
        until(lambda: done and done[-1] > 3 * PIECE, "some pieces are there")
        broker.kill()
        broker.start()

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        it = transfer(tmp_path / "in", board.carrier, clock=SystemClock())
        path = it.bring(blob.seal, blob.index_sha256, done.append, lambda: False)
        assert path.read_bytes() == blob.data
    finally:
        thread.join()
        board.link.stop()
        responder.stop()


def test_a_cancel_is_heard_amid_a_download(broker: Mosquitto, tmp_path: Path):
    blob = Blob.random(20 * PIECE + 1)
    board = Board(broker.port, tmp_path.name)
    responder = Responder(broker.port, board.topics, blob.all())
    try:
        it = transfer(tmp_path / "in", board.carrier, clock=SystemClock())
        with pytest.raises(Cancelled):
            bring(it, blob, lambda: it.received > 3 * PIECE)
        assert it.received < 8 * PIECE
        assert bring(it, blob) == blob.data
    finally:
        board.link.stop()
        responder.stop()
