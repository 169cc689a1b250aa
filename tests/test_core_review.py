"""What the core holds on to when its surroundings misbehave: brokers, clocks, topics, our own bugs."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from edged.clock import NS, SystemClock, VirtualClock
from edged.config.load import Loaded, Machine, load_config
from edged.config.schema import Broker
from edged.errors import EdgedError
from edged.hold import Hold
from edged.mqtt.link import Link
from edged.mqtt.message import Message, Will
from edged.mqtt.receive import PublishReader
from edged.records import Batch, Outgoing
from edged.service.daemon import Daemon
from edged.service.health import Conditions
from edged.service.judge import Judge
from edged.service.parts import Lane as WiredLane
from edged.service.record import record
from edged.service.report import pipeline_status
from edged.service.wiring import Parts
from edged.stream.pipeline import Pipeline
from edged.stream.recording import Recorder
from edged.stream.sources.stdin import StdinSource
from edged.stream.worker import Worker
from tests.broker import Mosquitto
from tests.daemon import HAR, edged, on_topic, pipeline
from tests.lanes import Kept, Lane
from tests.peer import Peer
from tests.releases import changed, twice
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

CONNACK = b"\x20\x02\x00\x00"
CONNACK_5 = b"\x20\x03\x00\x00\x00"
NOT_AUTHORIZED = b"\x20\x02\x00\x05"
DISCONNECT = b"\xe0\x00"
ONE = {"type": "json", "channels": ["c0"]}
Answers = Callable[[int], bytes]


class Scripted:
    """A broker that answers each CONNECT as it is told, and then listens; b"" ends the connection."""

    def __init__(self, answer: Answers, keep: int = 10**6) -> None:
        """Keep a connection open until `keep` bytes were heard on it."""
        self.heard: list[bytes] = []
        self._answer = answer
        self._keep = keep
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._current: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def cut(self) -> None:
        """End the present connection."""
        if self._current is not None:
            with suppress(OSError):  # the other side may have ended it first
                self._current.shutdown(socket.SHUT_RDWR)

    def send(self, data: bytes) -> None:
        """Say something on the present connection."""
        assert self._current is not None
        self._current.sendall(data)

    def published(self, connection: int, version5: bool = False) -> list[bytes | None]:
        """Give the payloads that came on a connection."""
        return PublishReader(1 << 20, version5).feed(self.heard[connection]).payloads

    def _run(self) -> None:
        while True:
            try:
                self._current, _ = self._listener.accept()
            except OSError:
                return
            with self._current as client:
                self._serve(client)
            self._current = None

    def _serve(self, client: socket.socket) -> None:
        self.heard.append(b"")
        which = len(self.heard) - 1
        try:
            self.heard[which] += client.recv(1 << 16)
            client.sendall(answer := self._answer(which))
            while answer and len(self.heard[which]) < self._keep and (data := client.recv(1 << 16)):
                self.heard[which] += data
        except OSError:
            pass


@pytest.fixture
def make_link() -> Iterator[Callable[..., Link]]:
    """Give a function that makes a link to a port; it is not started yet."""
    made: list[Link] = []

    def make(port: int, version: str = "3.1.1", **options: Any) -> Link:
        settings = Broker(url=f"mqtt://127.0.0.1:{port}", version=version)  # type: ignore[arg-type]
        made.append(Link("main", settings, "link", SystemClock(), random.Random(7), **options))
        return made[-1]

    yield make
    for link in made:
        link.stop(0)


MakeLink = Callable[..., Link]


def connected(link: Link) -> Link:
    until(lambda: link.state.state == "connected", "the link is connected", lambda: link.state)
    return link


# -- the link ---------------------------------------------------------------------------------


def test_a_message_that_comes_with_the_answer_to_connect_can_be_acknowledged_at_once(make_link: MakeLink) -> None:
    """What waits in a session comes right behind the CONNACK; an acknowledgement lost there holds a place in the broker's window."""
    with Scripted(lambda _: CONNACK + b"\x32\x06\x00\x01t\x00\x07x") as broker:
        link: Link = make_link(broker.port, on_block=lambda block, connection: link.ack(block.mids, connection))
        link.start()
        until(lambda: b"\x40\x02\x00\x07" in broker.heard[0] if broker.heard else False, "the acknowledgement", lambda: broker.heard)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x20\x00",
        b"\x20\x01\x00",
        b"\x20\x02\x00\xff",
        CONNACK + b"\x90\x00",
        CONNACK + b"\x90\x02\x00\x01",
        CONNACK + b"\x40\x00",
        CONNACK + b"\x40\x01\x00",
        CONNACK + b"\x62\x00",
        CONNACK + b"\x34\x00",
        CONNACK + b"\x34\x05\x00\x01\xff\x00\x01",
        CONNACK + b"\xf0\xff\xff\xff\x7f",
        CONNACK + b"\x00\x00",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request" * 3,
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" * 20,
    ],
)
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_nothing_a_broker_says_ends_the_link_for_good(make_link: MakeLink, answer: bytes, version: str) -> None:
    good = CONNACK_5 if version == "5" else CONNACK
    hostile = answer.replace(CONNACK, good) if answer.startswith(CONNACK) else answer
    with Scripted(lambda which: good if which else hostile) as broker:
        link = make_link(broker.port, version)
        link.start()
        until(lambda: broker.heard, "a connection")
        until(lambda: len(broker.heard) > 1 or broker.cut(), "another connection", lambda: link.state)  # type: ignore[func-returns-value]
        connected(link)


def test_a_callback_that_fails_costs_one_connection_and_not_the_link(make_link: MakeLink) -> None:
    failed: list[str] = []

    def fail(what: str) -> None:
        if what not in failed:
            failed.append(what)
            raise RuntimeError(what)

    def will() -> Will:
        fail("will")
        return Will("w", b"")

    with Scripted(lambda _: CONNACK + b"\x30\x04\x00\x01tx") as broker:
        link = make_link(broker.port, will=will, on_connected=lambda: fail("connected"), on_block=lambda block, connection: fail("block"))
        link.start()
        until(lambda: len(failed) == 3 and link.state.state == "connected", "it is connected after all", lambda: (failed, link.state))


def test_a_topic_that_cannot_be_sent_is_counted_and_the_next_message_goes_out(make_link: MakeLink) -> None:
    """Labels from outside stand in topics: too long, or not UTF-8, they must not end the thread that publishes."""
    with Scripted(lambda _: CONNACK) as broker:
        link = make_link(broker.port)
        link.start()
        connected(link)
        for topic in ("t" * 70_000, "\ud800", "", "ok"):
            link.publish(Message(topic, b"x"))
        until(lambda: broker.published(0)[:1] == [b"x"], "the sound one", lambda: broker.heard)
        assert link.dropped == {"publish-failed": 3}
        assert link.waiting == 1


def test_after_a_cut_old_messages_go_out_before_new_ones(make_link: MakeLink) -> None:
    with Scripted(lambda _: CONNACK) as broker:
        link = make_link(broker.port)
        link.start()
        connected(link)
        for payload in (b"a", b"b"):
            link.publish(Message("t", payload))
        until(lambda: broker.published(0)[-1:] == [b"b"], "both came", lambda: broker.heard)
        broker.cut()
        until(lambda: link.state.state != "connected", "the link knows", lambda: link.state)
        for payload in (b"c", b"d"):
            link.publish(Message("t", payload))
        until(lambda: len(broker.heard) == 2 and len(broker.published(1)) == 4, "all four", lambda: broker.heard)
        assert broker.published(1) == [b"a", b"b", b"c", b"d"]


def test_no_more_is_in_flight_than_the_broker_takes(make_link: MakeLink) -> None:
    """MQTT 5, 3.3.4: more than the broker's Receive Maximum is a protocol error; some brokers end the connection over it."""
    with Scripted(lambda _: b"\x20\x06\x00\x00\x03\x21\x00\x02") as broker:
        link = make_link(broker.port, "5")
        link.start()
        connected(link)
        for i in range(5):
            link.publish(Message("t", b"%d" % i))
        link.ack([99], 1)  # behind everything that was handed over
        until(lambda: b"\x40\x02\x00\x63" in broker.heard[0], "the acknowledgement", lambda: broker.heard)
        assert broker.published(0, True) == [b"0", b"1"]
        broker.send(b"\x40\x02\x00\x01")
        until(lambda: len(broker.published(0, True)) == 3, "the next one", lambda: broker.heard)
        link.stop(0)


def test_a_stop_that_leaves_messages_lets_the_will_speak(make_link: MakeLink) -> None:
    """After a DISCONNECT the broker forgets the Will: the device would stay `online` for ever where `offline` could not be sent."""
    with Scripted(lambda _: CONNACK) as broker:
        link = make_link(broker.port)
        link.start()
        connected(link)
        link.publish(Message("status", b"offline"))
        assert link.stop(0.01) == 1
        assert link.state.state == "stopped"
        until(lambda: b"offline" in broker.heard[0], "what was written", lambda: broker.heard)
        assert not broker.heard[0].endswith(DISCONNECT)
        again = make_link(broker.port)
        again.start()
        connected(again)
        assert again.stop(0.01) == 0
        until(lambda: broker.heard[1].endswith(DISCONNECT), "the good-bye", lambda: broker.heard)


def test_a_broker_that_closes_each_connection_is_asked_less_and_less_often(make_link: MakeLink) -> None:
    """As a balancer in front of a broker that is down, or another device with the same id."""
    for version, answer in (("auto", b""), ("3.1.1", CONNACK)):
        with Scripted(lambda _, answer=answer: answer, keep=1) as broker:  # type: ignore[misc]
            link = make_link(broker.port, version)
            link.start()
            until(lambda: len(broker.heard) >= 3, "three attempts")
            assert link._backoff.attempts >= 2
            link.stop(0)


def test_a_refusal_is_as_old_as_the_first_attempt(make_link: MakeLink) -> None:
    with Scripted(lambda _: NOT_AUTHORIZED) as broker:
        link = make_link(broker.port)
        link.start()
        until(lambda: link.state.state == "refused", "the refusal", lambda: link.state)
        since = link.state.since
        until(lambda: len(broker.heard) >= 3, "two more", lambda: link.state)
        until(lambda: link.state.state == "refused", "the refusal", lambda: link.state)
        assert link.state.since == since


# -- pipelines and workers --------------------------------------------------------------------


class Broken(Kept):
    """An output with a bug."""

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        raise ZeroDivisionError


def test_a_bug_of_ours_costs_a_batch_and_not_the_worker(tmp_path: Path) -> None:
    lane = Lane(twice(tmp_path / "m", 1, 1), ONE)
    lane.pipeline.sinks[0].output = Broken()
    done: list[int] = []
    lane.clock.advance(1)
    lane.pipeline.process(Batch([b"in/a"], [b'{"c0": 1}'], 0, 0, lambda: done.append(1)))
    assert lane.pipeline.last_error is not None
    assert (lane.pipeline.last_error.family, lane.pipeline.last_error.code) == ("bug", "pipeline-bug")
    assert "test_core_review.py" in lane.pipeline.last_error.text
    assert "ZeroDivisionError" in lane.pipeline.last_error.text
    assert lane.counters.dropped == {"pipeline-bug": 1}
    assert (done, lane.pipeline.busy_since) == ([1], 0)


def test_an_error_of_a_pipeline_is_over_a_minute_after_the_last_one(tmp_path: Path) -> None:
    lane = Lane(twice(tmp_path / "m", 1, 1), ONE)
    lane.pipeline.sinks[0].output = Broken()
    lane.pipeline.process(Batch([b"in/a"], [b'{"c0": 1}'], 0, 0))
    conditions = Conditions(lane.clock)
    no_updates: Any = SimpleNamespace(fault=None, bug=None, bad_lines=0, stale={}, stuck="", pushes=None, pushes_fault=None)
    judge = Judge(_parts(lane.pipeline, lane.clock), conditions, no_updates)
    judge.look()
    assert "pipeline-error" in {each.code for each in conditions.list()}
    lane.clock.advance(61 * NS)
    judge.look()
    assert "pipeline-error" not in {each.code for each in conditions.list()}


def _parts(built: Pipeline, clock: VirtualClock) -> Parts:
    parts = Parts(None, clock, "", None)  # type: ignore[arg-type]
    parts.lanes = [WiredLane(built.options, StdinSource(clock), built)]
    return parts


def test_the_age_of_a_result_does_not_follow_the_wall_clock(tmp_path: Path) -> None:
    """A board without a clock battery gets the time from the network, years off."""
    lane = Lane(twice(tmp_path / "m", 1, 1), ONE)
    lane.put(("in/a", '{"c0": 1}'))
    lane.clock.advance(3 * NS)
    lane.clock.set_wall(0)
    last = pipeline_status(_parts(lane.pipeline, lane.clock).lanes[0], lane.clock).last_result
    assert last is not None
    assert last.age_s == 3.0


def test_a_topic_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    lane = Lane(twice(tmp_path / "m", 1, 1), ONE)
    lane.pipeline.process(Batch([b"in/\xff", b"in/a"], [b'{"c0": 1}', b'{"c0": 2}'], 0, 0))
    assert lane.pipeline.last_error is None
    assert lane.counters.rejected == {"unknown-topic": 1}
    assert [each.key for each in lane.kept.results] == ["key=a"]


def test_a_message_is_refused_once_also_on_a_topic_that_is_not_ours(tmp_path: Path) -> None:
    lane = Lane(twice(tmp_path / "m", 1, 1), ONE)
    lane.put(("other", '{"c0": 1}'), ("other", "junk"))
    assert lane.counters.rejected == {"unknown-topic": 1, "malformed": 1}


def test_a_message_that_is_refused_begins_no_stream(tmp_path: Path) -> None:
    """Its labels are not known: it would take the place of a real stream."""
    lane = Lane(twice(tmp_path / "m", 1, 1), {**ONE, "labels": ["pump"]}, max_streams=2)
    lane.put(("in/a", '{"c0": 1, "pump": "7"}'))
    lane.put(("in/a", '{"c0": 2, "pump": "7"}'), ("in/a", "junk"))
    lane.put(("in/a", "junk"))
    streams = lane.pipeline.assembly.streams
    assert ([each.key for each in streams.streams], streams.evicted) == (["key=a/pump=7"], 0)
    assert len(lane.kept.results) == 2


def test_a_message_with_many_windows_is_worked_off_in_parts(tmp_path: Path) -> None:
    """A window for each reading: a megabyte of readings would become gigabytes of windows at once."""
    sizes: list[int] = []

    class Sized(Kept):
        def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
            sizes.append(len(outgoing))
            super().deliver(outgoing, hold)

    lane = Lane(twice(tmp_path / "m", 1, 4, hop=1), {"type": "packed", "layout": "<f", "channels": ["c0"]})
    lane.pipeline.sinks[0].output = kept = Sized()
    values = range(1000)
    lane.put(("in/a", struct.pack("<1000f", *values)))
    assert [each.output["values"][0] for each in kept.results] == [2.0 * value for value in range(997)]
    assert max(sizes) <= 64


def test_a_batch_is_waiting_or_worked_on_and_never_neither(tmp_path: Path) -> None:
    """What is between the two would be forgotten by a daemon that asks whether there is something to do."""
    lane = Lane(twice(tmp_path / "m", 1, 1), ONE)
    lane.clock.advance(1)
    assert lane.pipeline.take() is None
    assert lane.pipeline.busy_since == 0
    lane.pipeline.inbox.put(Batch([b"in/a"], [b'{"c0": 1}'], 0, 0))
    batch = lane.pipeline.take()
    assert batch is not None
    assert lane.pipeline.busy_since
    lane.pipeline.process(batch)
    assert lane.pipeline.busy_since == 0


class Endless:
    """Work that is never done, until somebody else got a turn."""

    urgency = "normal"

    def __init__(self, name: str, turns: list[str], least: int) -> None:
        self._name = name
        self._turns = turns
        self._least = least

    def take(self) -> Batch | None:
        return None if len(self._turns) >= self._least else Batch([], [], 0, 0)

    def process(self, batch: Batch) -> None:
        self._turns.append(self._name)


def test_pipelines_of_one_class_take_turns() -> None:
    turns: list[str] = []
    worker = Worker("w")
    for name in "abc":
        worker.add(Endless(name, turns, 9))
    worker.start()
    assert worker.stop(PATIENCE_S)
    assert sorted(turns) == list("aaabbbccc")


# -- the daemon -------------------------------------------------------------------------------


def test_a_pipeline_that_cannot_be_built_holds_up_no_other(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    """A broker hands out some unacknowledged messages and then waits: a pipeline that never answers would stop them all."""
    two = '{ type = "json", channels = ["x", "y"] }'
    broken = pipeline("broken", on_topic("$FLEET/broken", ", qos = 1"), decoder=two)
    daemon = make_daemon(broken + pipeline("har", on_topic("$FLEET/acc", ", qos = 1")), broker.port).start()
    with Peer(broker.port) as peer:
        peer.publish_all(f"{daemon.fleet}/broken", ["{}"] * 200)
        peer.publish(f"{daemon.fleet}/acc", '{"x": 1, "y": 2, "z": 3, "ts": 1}')
    daemon.until(lambda status: status["pipelines"][1]["messages"] == 1, "the message of the sound one")


def test_what_waits_when_the_daemon_stops_goes_down_the_whole_chain(tmp_path: Path, make_daemon: MakeDaemon) -> None:
    twice(tmp_path / "m", 1, 1)
    decoder, line = '{ type = "json", channels = ["c0"] }', b'{"c0": 1}\n'
    feed = tmp_path / "feed.jsonl"
    feed.write_bytes(line * 200_000)
    up = pipeline(
        "up",
        f'{{ type = "file", path = "{feed}", follow = true }}',
        decoder=decoder,
        model=tmp_path / "m",
        outputs='[ { type = "file", path = "up.jsonl" } ]',
        more='queue = { size = 8192, full = "block" }',
    )
    down = pipeline(
        "down",
        '{ type = "pipeline", name = "up" }',
        decoder='{ type = "json", channels = ["output.values"] }',
        model=tmp_path / "m",
        outputs='[ { type = "file", path = "down.jsonl" } ]',
        more="queue = { size = 1000000 }",
    )
    daemon = make_daemon(down + up).launch()
    daemon.until(lambda status: status["pipelines"][1]["results"] > 1000, "it runs")
    assert daemon.stop() == 0
    counts = {name: (daemon.folder / f"{name}.jsonl").read_bytes().count(b"\n") for name in ("up", "down")}
    assert counts["up"] == counts["down"] > 1000


def test_a_daemon_that_is_stopped_while_it_starts_ends_cleanly(make_daemon: MakeDaemon) -> None:
    """A pipe in the place of a file of its state holds the start up for as long as it takes to stop it."""
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    pipe = daemon.folder / "state" / "starts"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    daemon.launch()
    writer = until(lambda: _open_for_writing(pipe), "it starts", daemon.tail)
    assert daemon.stop() == 0
    os.close(writer)


def _open_for_writing(pipe: Path) -> int | None:
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads it yet
        return None


def test_a_daemon_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f'[mqtt.main]\nurl = "embedded"\n[metrics]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
        loaded = _loaded(tmp_path, text + pipeline("har", on_topic("acc")))
        with pytest.raises(EdgedError):
            Daemon(loaded, SystemClock(), random.Random(7))
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert not [pid for pid in children.read_text().split() if "iotcore" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert not loaded.socket.exists()


def _loaded(folder: Path, text: str) -> Loaded:
    path = folder / "edged.toml"
    own = f'[device]\nid = "d"\nstate_dir = "{folder / "state"}"\n[control]\nsocket = "{folder / "s"}"\n'
    path.write_text(own + text)
    return load_config(path, {}, Machine(root=folder, host="d", uid=os.getuid()))


# -- recording and replay ---------------------------------------------------------------------


def test_a_recording_holds_nothing_that_came_before_it(broker: Mosquitto, tmp_path: Path) -> None:
    """A session that stays at the broker would hand the messages of a night to the recording of the next morning."""
    topic = tmp_path.name
    loaded = _loaded(tmp_path, f'[mqtt.main]\nurl = "mqtt://127.0.0.1:{broker.port}"\n' + pipeline("har", on_topic(topic, ", qos = 1")))
    with Peer(broker.port) as peer:
        for name in ("first", "second"):
            _record_until_it_comes(loaded, tmp_path / name, lambda name=name: peer.publish(topic, name))  # type: ignore[misc]
            peer.publish(topic, "between")
    between = base64.b64encode(b"between")
    assert between not in (tmp_path / "second").read_bytes()


def _record_until_it_comes(loaded: Loaded, out: Path, publish: Callable[[], None]) -> None:
    stop, said = threading.Event(), ["0 messages"]
    thread = threading.Thread(target=record, args=(loaded, out, SystemClock(), random.Random(7), 0.0, stop, said.append))
    thread.start()
    until(lambda: publish() or not said[-1].startswith("0 "), "a message", lambda: said)  # type: ignore[func-returns-value]
    stop.set()
    thread.join(PATIENCE_S)


def test_a_recording_that_cannot_begin_leaves_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_bytes(b"\xff")
    main = f'[mqtt.main]\nurl = "mqtt://127.0.0.1"\nusername = "u"\npassword_file = "{secret}"\n'
    loaded = _loaded(tmp_path, main + pipeline("har", on_topic("acc")))
    with pytest.raises(EdgedError):
        record(loaded, tmp_path / "r", SystemClock(), random.Random(7), 0.1, threading.Event(), lambda _: None)
    assert not (tmp_path / "r").exists()


def test_a_replay_is_silent_over_numbers_that_overflow(tmp_path: Path) -> None:
    release = changed(HAR, tmp_path / "m", ("factor = 0.00025", "factor = 1e30"))
    (tmp_path / "edged.toml").write_text(pipeline("har", '{ type = "stdin" }', model=release, outputs='[ { type = "stdout" } ]'))
    clock = SystemClock()
    with (tmp_path / "r").open("wb") as file:
        deliver = Recorder(file, clock, "run").deliver_for("har")
        lines = [json.dumps({"x": 3e30, "y": 1, "z": 1, "ts": 1_700_000_000_000 + i * 38}).encode() for i in range(300)]
        deliver(Batch([b"stdin"] * 300, list(lines), clock.wall(), clock.mono()))
    ended = edged("replay", "r", "--config", "edged.toml", cwd=tmp_path, PYTHONWARNINGS="error::RuntimeWarning")
    assert ended.returncode == 0, ended.stderr
    assert b"300 readings" in ended.stderr
