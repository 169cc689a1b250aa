"""A repository on a real Mosquitto: published once, served on, changed meanwhile, by several servers, on a broker that forgets."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edged.clock import NS, SystemClock, VirtualClock
from edged.config.schema import Broker
from edged.errors import OperatorError, PeerError
from edged.exchange.blobs import FRAGMENT, NOT_FOUND, Fragment, Request, parse_fragment
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.receive import Block
from edged.mqtt.topics import DeviceTopics, FleetTopics
from edged.publisher import announcer, once
from edged.publisher.once import Outcome, publish_once
from edged.publisher.post import BrokerUnreachable
from edged.publisher.repository import Repository
from edged.publisher.serving import Server
from tests.broker import Mosquitto, free_port
from tests.fleets import Fleet, days
from tests.shim import copy
from tests.stores import large, refused, tiny
from tests.test_publisher_repository import NOW
from tests.waiting import until

if TYPE_CHECKING:
    from tests.fixtures import MakeBroker

pytest_plugins = ["tests.fixtures"]

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])
PATTERN = "edged/1/{fleet}"


class Board:
    """A bare client at the place of a board: hears what it subscribed to, asks for bytes."""

    def __init__(self, broker: Broker, fleet: str, device: str, password: str = "") -> None:
        self.topics, self.of_fleet = DeviceTopics(fleet, device), FleetTopics(fleet)
        self.held: dict[str, bytes] = {}
        self.count: dict[str, int] = {}
        self.fragments: list[Fragment] = []
        self._lock = threading.Lock()
        clock, rng = SystemClock(), random.Random()
        self.link = Link(
            device, broker, f"{device}-{rng.getrandbits(32)}", clock, rng, password=password, on_block=self._take, keep_session=False
        )
        for topic in (self.of_fleet.repo("#"), self.of_fleet.group_desired("+"), self.topics.desired):
            self.link.subscribe(topic, 0)
        self.link.subscribe(self.topics.blob_data("+"), 0)
        self.link.start()
        until(lambda: self.link.state.state == "connected", "the board is connected")

    def _take(self, block: Block, _connection: int) -> None:
        for topic, payload in zip(block.topics, block.payloads):
            name = topic.decode()
            assert payload is not None
            with self._lock:
                if "/blob/dat/" in name:
                    self.fragments.append(parse_fragment(payload))
                else:
                    self.held[name] = payload
                    self.count[name] = self.count.get(name, 0) + 1

    def repo(self) -> dict[str, bytes]:
        """Give the metadata that it was sent, by name; what was cleared is not there."""
        base = self.of_fleet.repo("")
        with self._lock:
            return {name.removeprefix(base): payload for name, payload in self.held.items() if name.startswith(base) and payload}

    def until_has(self, fleet: Fleet) -> None:
        """Wait until it was sent all that is in a repository."""
        until(lambda: fleet.all_metadata().items() <= self.repo().items(), "the metadata comes", self.repo)

    def born(self) -> None:
        """Say who it is."""
        self.link.publish(Message(self.topics.birth, b'{"v":1}', 1, True))

    def ask(self, sha256: str, off: int = 0, length: int = FRAGMENT, server: int = 0) -> None:
        """Ask for a range of a blob."""
        self.link.publish(Message(self.topics.blob_request, Request(sid=9, sha256=sha256, off=off, len=length, server=server).encode()))

    def fetch(self, sha256: str, size: int) -> bytes:
        """Fetch a blob as a board does: the first fragment from anybody, the rest from who gave it."""
        self.ask(sha256)
        first = until(
            lambda: next((each for each in self.fragments if not each.refusal), None), "the first fragment", lambda: self.fragments
        )
        for off in range(FRAGMENT, size, 16 * FRAGMENT):
            self.ask(sha256, off, min(16 * FRAGMENT, size - off), first.server)
        until(lambda: sum(len(each.data) for each in self.fragments) >= size, "all fragments", lambda: len(self.fragments))
        return b"".join(bytes(each.data) for each in sorted(self.fragments, key=lambda each: each.offset))


Make = Callable[..., Any]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Make]:
    """Give a function that makes boards; they leave at the end."""
    made: list[Board] = []

    def make(mosquitto: Mosquitto, fleet: str, device: str = "press-7", version: str = "auto", **options: str) -> Board:
        made.append(Board(at(mosquitto, version=version, username=options.get("username", "")), fleet, device, options.get("password", "")))
        return made[-1]

    yield make
    for each in made:
        each.link.stop(0.0)


@pytest.fixture
def serve() -> Iterator[Make]:
    """Give a function that starts servers; they end with the test."""
    made: list[Server] = []

    def start(repository: Repository, mosquitto: Mosquitto, **options: str) -> Server:
        made.append(Server(repository, at(mosquitto, **options), "", SystemClock(), random.Random()))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()
        assert each.fault is None


def at(mosquitto: Mosquitto, **options: str) -> Broker:
    return Broker(url=f"mqtt://127.0.0.1:{mosquitto.port}", **options)  # type: ignore[arg-type]


def publish(fleet: Fleet, mosquitto: Mosquitto, password: str = "", **options: str) -> Outcome:
    return publish_once(fleet.repository, at(mosquitto, **options), password, fleet.clock, random.Random())


def filled(folder: Path, name: str) -> Fleet:
    fleet = Fleet(folder / name, name)
    fleet.add(large(folder / f"{name}-release", 3 << 20))
    fleet.assign("dev:press-7", {"twice": 1})
    fleet.assign("group:line-3", {"twice": 1})
    return fleet


@VERSIONS
def test_what_is_published_is_there_for_boards_that_come_later(version: str, broker: Mosquitto, board: Make, tmp_path: Path) -> None:
    fleet = filled(tmp_path, f"once-{version.replace('.', '-')}")
    outcome = publish(fleet, broker, version=version)
    assert outcome.version == version
    assert outcome.published.sent[:5] == ["root/1", "targets/2", "snapshot/2", "timestamp", "orders to dev:press-7"]
    late = board(broker, fleet.name, version=version)
    late.until_has(fleet)
    until(lambda: late.topics.desired in late.held, "the orders come")
    assert late.held[late.topics.desired] == fleet.desired("dev:press-7")
    until(lambda: late.of_fleet.group_desired("line-3") in late.held, "the group's orders come")


def test_what_boards_need_no_more_is_cleared_and_roots_never(broker: Mosquitto, board: Make, tmp_path: Path) -> None:
    fleet = filled(tmp_path, "clears")
    publish(fleet, broker)
    for number in (2, 3, 4):
        fleet.add(tiny(tmp_path / f"r{number}", number))
    fleet.rotate("root")
    outcome = publish(fleet, broker)
    assert outcome.published.cleared == ["old snapshot/2", "old targets/2"]
    late = board(broker, fleet.name)
    late.until_has(fleet)
    assert {"root/1", "root/2", "targets/5", "snapshot/5", "timestamp"} == late.repo().keys()


def test_an_older_copy_of_the_folder_does_not_take_boards_back(broker: Mosquitto, board: Make, tmp_path: Path) -> None:
    fleet = filled(tmp_path, "older")
    old = copy(fleet.folder, tmp_path / "old")
    fleet.add(tiny(tmp_path / "r2", 2))
    publish(fleet, broker)
    stale = Repository(old, fleet.clock)
    refused("copy-older", lambda: publish_once(stale, at(broker), "", fleet.clock, random.Random()), OperatorError)
    board(broker, fleet.name).until_has(fleet)


def test_a_forged_timestamp_on_the_broker_does_not_hold_the_publisher_up(broker: Mosquitto, board: Make, tmp_path: Path) -> None:
    fleet = filled(tmp_path, "forged")
    other = Fleet(tmp_path / "thief", "forged")
    for _ in range(8):
        other.resign("timestamp", lambda _: None)
    forger = board(broker, fleet.name, "forger")
    for payload in (other.metadata("timestamp"), b"[" * 10_000, b"\xff" * 100):
        forger.link.publish(Message(FleetTopics(fleet.name).repo("timestamp"), payload, 1, True))
        until(lambda: not forger.link.waiting, "it is there")
        publish(fleet, broker)
        board(broker, fleet.name, f"late-{len(payload)}").until_has(fleet)


def test_snapshot_and_timestamp_are_renewed_in_time_or_a_person_is_told_when_they_end(broker: Mosquitto, tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    fleet = Fleet(tmp_path / "fleet", "renews", clock)
    clock.advance(days(14))
    assert not publish(fleet, broker).renewed
    clock.advance(days(2))
    assert publish(fleet, broker).renewed
    assert fleet.repository.stand().timestamp.signed.version == 2
    for path in (fleet.folder / "keys").glob("timestamp-*"):
        path.unlink()
    fleet.repository = Repository(fleet.folder, clock)
    clock.advance(days(20))
    outcome = publish(fleet, broker)
    assert not outcome.renewed
    assert "2027-01-14" in outcome.warnings[0]
    clock.advance(days(320))
    root, targets, _ = publish(fleet, broker).warnings
    assert root.startswith("what root signed ends on 2027-11-29")
    assert "edged fleet rotate DIR root" in root
    assert targets.startswith("what targets signed ends on")


def test_a_broker_that_forbids_it_is_named_over_mqtt_5(make_broker: MakeBroker, tmp_path: Path) -> None:
    rules = "user fleet\ntopic read edged/#\ntopic write edged/1/forbids/_repo/root/#\n"
    broker = make_broker(users={"fleet": "secret"}, acl=rules).start()
    fleet = Fleet(tmp_path / "fleet", "forbids")
    with pytest.raises(PeerError) as caught:
        publish(fleet, broker, "secret", version="5", username="fleet")
    assert caught.value.code == "publish-refused"
    assert "_repo/targets/1" in caught.value.text
    assert "edged fleet acl" in caught.value.hint
    assert caught.value.exit_code == 1


def test_over_mqtt_3_a_refusal_cannot_be_known_and_is_not_taken_for_a_yes(
    make_broker: MakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "ECHO_S", 1.0)
    broker = make_broker(users={"fleet": "secret"}, acl="user fleet\ntopic read edged/#\n").start()
    fleet = Fleet(tmp_path / "fleet", "forbids")
    outcome = publish(fleet, broker, "secret", version="3.1.1", username="fleet")
    assert "MQTT 3.1.1" in outcome.warnings[-1]


def test_no_broker_and_a_wrong_password_are_said_as_what_they_are(
    make_broker: MakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edged.publisher.post.reach.__defaults__", (2.0,))
    fleet = Fleet(tmp_path / "fleet")
    with pytest.raises(BrokerUnreachable) as caught:
        publish_once(fleet.repository, Broker(url=f"mqtt://127.0.0.1:{free_port()}"), "", fleet.clock, random.Random())
    assert caught.value.exit_code == 4
    assert "nothing listens" in caught.value.text
    broker = make_broker(users={"fleet": "secret"}).start()
    with pytest.raises(BrokerUnreachable) as caught:
        publish(fleet, broker, "wrong", username="fleet")
    assert "wrong user name or password" in caught.value.text


@VERSIONS
def test_a_board_gets_metadata_orders_and_bytes_from_a_server(
    version: str, broker: Mosquitto, board: Make, serve: Make, tmp_path: Path
) -> None:
    fleet = filled(tmp_path, f"serves-{version.replace('.', '-')}")
    serve(fleet.repository, broker, version=version)
    press = board(broker, fleet.name, version=version)
    press.until_has(fleet)
    data = (tmp_path / f"{fleet.name}-release" / "twice.tflite").read_bytes()
    ((file, index),) = fleet.repository.stand().targets.signed.targets["twice/1"].custom["edged"]["pieces"].items()
    assert press.fetch(file, len(data)) == data
    press.fragments.clear()
    assert press.fetch(index, 96) == fleet.blob(index)


def test_changes_of_the_folder_by_other_commands_are_published(broker: Mosquitto, board: Make, serve: Make, tmp_path: Path) -> None:
    fleet = filled(tmp_path, "changes")
    serve(fleet.repository, broker)
    press = board(broker, fleet.name)
    press.until_has(fleet)
    fleet.add(tiny(tmp_path / "r2", 2))
    press.until_has(fleet)
    rev = fleet.assign("dev:press-7", {"twice": 2}).rev
    until(lambda: press.held.get(press.topics.desired) == fleet.desired("dev:press-7"), f"rev {rev} comes")
    fleet.rotate("director")
    until(lambda: press.held.get(press.topics.desired) == fleet.desired("dev:press-7"), "the new signature comes")
    fleet.rotate("root")
    press.until_has(fleet)


def test_a_broker_that_forgot_everything_gets_it_again(make_broker: MakeBroker, board: Make, serve: Make, tmp_path: Path) -> None:
    broker = make_broker().start()
    fleet = filled(tmp_path, "forgets")
    serve(fleet.repository, broker)
    board(broker, fleet.name).until_has(fleet)
    broker.stop()
    broker.start()
    board(broker, fleet.name, "another").until_has(fleet)


def test_a_board_that_comes_is_given_everything_again(
    broker: Mosquitto, board: Make, serve: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "AGAIN_NS", 0)
    fleet = filled(tmp_path, "births")
    server = serve(fleet.repository, broker)
    press = board(broker, fleet.name)
    press.until_has(fleet)
    until(lambda: press.topics.desired in press.held, "the orders come")
    before = dict(press.count)
    press.born()
    until(lambda: server.announcer.told.births, "the birth is heard")
    for topic in (press.topics.desired, press.of_fleet.group_desired("line-3"), press.of_fleet.repo("timestamp")):
        until(lambda topic=topic: press.count[topic] > before[topic], f"{topic} comes again")


def test_many_births_at_once_do_not_make_it_publish_the_same_again_and_again(
    broker: Mosquitto, board: Make, serve: Make, tmp_path: Path
) -> None:
    fleet = filled(tmp_path, "storm")
    server = serve(fleet.repository, broker)
    press = board(broker, fleet.name)
    press.until_has(fleet)
    for i in range(200):
        press.link.publish(Message(DeviceTopics(fleet.name, f"d{i}").birth, b'{"v":1}', 1))
    until(lambda: server.announcer.told.births == 200, "all are heard", lambda: server.announcer.told)
    letters = len(fleet.all_metadata()) + 2
    assert server.announcer.told.letters <= 3 * letters


def test_a_board_that_comes_right_after_a_publication_is_answered_as_well(
    broker: Mosquitto, board: Make, serve: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "AGAIN_NS", NS)
    fleet = filled(tmp_path, "soon")
    serve(fleet.repository, broker)
    press = board(broker, fleet.name)
    for _ in range(2):
        press.until_has(fleet)
        before = press.count.get(press.topics.desired, 0)
        press.born()
        until(lambda before=before: press.count.get(press.topics.desired, 0) > before, "the orders come again")


def test_two_servers_on_one_broker_each_give_what_they_have(broker: Mosquitto, board: Make, serve: Make, tmp_path: Path) -> None:
    fleet = filled(tmp_path, "two")
    other = Repository(copy(fleet.folder, tmp_path / "copy"), fleet.clock)
    file = (tmp_path / "two-release" / "twice.tflite").read_bytes()
    ((sha256, _),) = fleet.repository.stand().targets.signed.targets["twice/1"].custom["edged"]["pieces"].items()
    (other.layout.blobs.folder / sha256).unlink()
    one, two = serve(fleet.repository, broker), serve(other, broker)
    press = board(broker, fleet.name)
    press.until_has(fleet)
    until(lambda: two.link.state.state == "connected", "the second serves")
    assert press.fetch(sha256, len(file)) == file
    assert {each.server for each in press.fragments if not each.refusal} == {one.blobs.number}
    press.ask(sha256, 0, 1, two.blobs.number)
    until(lambda: any(each.refusal == NOT_FOUND and each.server == two.blobs.number for each in press.fragments), "the other refuses")


def test_requests_of_devices_with_impossible_names_and_retained_ones_are_not_answered(
    broker: Mosquitto, board: Make, serve: Make, tmp_path: Path
) -> None:
    fleet = filled(tmp_path, "names")
    server = serve(fleet.repository, broker)
    press = board(broker, fleet.name)
    press.until_has(fleet)
    digest = fleet.digest("twice", 1)
    request = Request(sid=9, sha256=digest, off=0, len=1).encode()
    press.link.publish(Message(f"edged/1/{fleet.name}/UPPER case/blob/req", request))
    press.link.publish(Message(f"edged/1/{fleet.name}/_grp/blob/req", request))
    press.link.publish(Message(press.topics.blob_request, b"nonsense"))
    press.ask(digest, 0, 10)
    until(lambda: press.fragments, "the good one is answered")
    assert server.blobs.dropped["bad-name"] == 2
    assert server.blobs.dropped["malformed"] == 1


def test_a_server_renews_in_time(broker: Mosquitto, board: Make, tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    fleet = Fleet(tmp_path / "fleet", "server-renews", clock)
    clock.advance(days(21))
    server = Server(fleet.repository, at(broker), "", clock, random.Random())
    server.start()
    try:
        until(lambda: server.announcer.told.renewed, "it renews", lambda: server.announcer.told)
        board(broker, fleet.name).until_has(fleet)
        assert fleet.repository.stand().timestamp.signed.version == 2
    finally:
        server.stop()
