"""What the fleet wants of a board: from messages in any order, and from several repositories, to one order a model."""

from __future__ import annotations

import http.server
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.clock import NS, VirtualClock
from edged.errors import PeerError
from edged.fleet import repositories as module
from edged.fleet.floor import FloorFile
from edged.fleet.instructions import EXPIRED, FAILING, OK, WAITING, Instructions
from edged.fleet.mailbox import Mailbox
from edged.fleet.repositories import FolderRepository, HttpRepository, MqttRepository, Repository
from edged.fleet.timekeeping import Time
from edged.mqtt.topics import DeviceTopics, FleetTopics
from tests.fleets import Fleet, days
from tests.stores import tiny

START = 1_795_000_000 * NS
DEVICE, GROUP = "dev:press-7", "group:line-3"


class Scene:
    """A fleet, a board's mailbox, and its instructions."""

    def __init__(self, folder: Path, groups: tuple[str, ...] = ("line-3", "hall-1")) -> None:
        self.folder = folder
        self.clock = VirtualClock(START)
        self.fleet = Fleet(folder / "repository", clock=self.clock)
        self.fleet.add(tiny(folder / "one"))
        self.mailbox = Mailbox(DeviceTopics("plant-a", "press-7"), groups, self.clock, lambda: None)
        self.groups = groups
        self.asked = 0
        self.instructions = self.begin([MqttRepository(self.mailbox)])

    def begin(self, repositories: list[Repository]) -> Instructions:
        """Start a board on what it kept."""
        return Instructions(
            "press-7",
            self.groups,
            self.fleet.root_bytes(),
            self.folder / "board" / "metadata",
            FloorFile(self.folder / "board"),
            self.mailbox,
            repositories,
            Time(self.clock, lambda: False),
            self.clock,
            random.Random(1),
            self._ask,
        )

    def _ask(self) -> None:
        self.asked += 1

    def publish(self, *audiences: str, leave_out: str = "") -> None:
        """Put what there is into the mailbox."""
        topics = FleetTopics("plant-a")
        for name, data in self.fleet.all_metadata().items():
            if name != leave_out:
                self.mailbox.put(topics.repo(name).encode(), data, True)
        for audience in audiences:
            kind, _, name = audience.partition(":")
            topic = topics.group_desired(name) if kind == "group" else f"{topics.base}/{name}/desired"
            self.mailbox.put(topic.encode(), self.fleet.desired(audience), True)

    def look(self, seconds: float = 5.0) -> None:
        """Let time pass, and look."""
        self.clock.advance(int(seconds * NS))
        self.instructions.look()

    def wanted(self) -> dict[str, tuple[int, str]]:
        return {model: (each.order.release, each.audience) for model, each in self.instructions.wanted.items()}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_an_order_is_wanted_once_metadata_and_document_are_there(scene: Scene) -> None:
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (WAITING, {})
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)})


def test_news_are_looked_at_when_they_have_settled(scene: Scene) -> None:
    scene.publish()
    scene.look()
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look(0.1)
    assert scene.wanted() == {}
    scene.look(0.5)
    assert scene.wanted() == {"twice": (1, DEVICE)}


def test_a_devices_own_order_goes_before_those_of_its_groups_and_those_in_the_order_of_the_configuration(scene: Scene) -> None:
    scene.fleet.add(tiny(scene.folder / "two", release=2))
    scene.fleet.add(tiny(scene.folder / "three", release=3))
    scene.fleet.assign("group:hall-1", {"twice": 3})
    scene.publish("group:hall-1")
    scene.look()
    assert scene.wanted() == {"twice": (3, "group:hall-1")}
    scene.fleet.assign(GROUP, {"twice": 2})
    scene.publish(GROUP)
    scene.look()
    assert scene.wanted() == {"twice": (2, GROUP)}
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    assert scene.wanted() == {"twice": (1, DEVICE)}


def test_metadata_that_a_broker_lost_is_asked_for_again_and_again(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE, leave_out="snapshot/2")
    scene.look()
    assert scene.instructions.state == WAITING
    assert scene.instructions.beliefs.fault is not None
    assert scene.instructions.beliefs.fault.code == "metadata-missing"
    for _ in range(5):
        scene.look(60)
    assert scene.asked >= 5
    scene.publish(DEVICE)
    scene.look()
    assert scene.wanted() == {"twice": (1, DEVICE)}


def test_where_metadata_came_and_no_order_they_are_asked_for_a_few_times_some_seconds_apart(scene: Scene) -> None:
    """A broker that delivered the one may have left out the other, and take no subscription when it is asked first."""
    scene.publish()
    for _ in range(100):
        scene.look(0.3)
    assert scene.asked == 2
    for _ in range(200):
        scene.look(2)
    assert scene.asked == 4
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    assert scene.wanted() == {"twice": (1, DEVICE)}
    assert scene.asked == 4


def test_a_refused_document_leaves_the_one_before_in_force(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    scene.fleet.put_desired(DEVICE, scene.fleet.sign_desired(scene.fleet.make_desired(DEVICE, {}, rev=9), "timestamp"))
    scene.publish(DEVICE)
    scene.look()
    assert scene.wanted() == {"twice": (1, DEVICE)}
    assert scene.instructions.beliefs.faults[DEVICE].code == "desired-unsigned"


def test_a_document_that_was_taken_away_says_nothing_and_stops_nothing(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    scene.mailbox.put(b"edged/1/plant-a/press-7/desired", b"", True)
    scene.look()
    assert scene.wanted() == {"twice": (1, DEVICE)}


def test_an_order_whose_document_expires_is_not_begun_any_more(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1}, days=1)
    scene.publish(DEVICE)
    scene.look()
    assert scene.wanted()
    scene.clock.advance(days(2))
    assert scene.wanted() == {}


def test_metadata_that_expires_begins_nothing_more(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    scene.clock.advance(days(40))
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (EXPIRED, {})


def test_an_attack_is_told_and_what_was_believed_stays(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    thief = Fleet(scene.folder / "thief", clock=scene.clock)
    for name, data in thief.all_metadata().items():
        scene.mailbox.put(f"edged/1/plant-a/_repo/{name}".encode(), data, True)
    scene.look()
    assert scene.instructions.state == FAILING
    assert scene.wanted() == {"twice": (1, DEVICE)}


def test_a_restarted_board_refuses_what_it_had_seen_newer(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    old = scene.fleet.desired(DEVICE)
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.publish(DEVICE)
    scene.look()
    scene.instructions = scene.begin([MqttRepository(scene.mailbox)])
    scene.fleet.put_desired(DEVICE, old)
    scene.publish(DEVICE)
    scene.look()
    assert scene.wanted() == {}
    assert scene.instructions.beliefs.faults[DEVICE].code == "desired-rollback"


def test_a_folder_serves_where_no_broker_does(scene: Scene) -> None:
    scene.fleet.assign(GROUP, {"twice": 1})
    scene.instructions = scene.begin([MqttRepository(scene.mailbox), FolderRepository(scene.fleet.public)])
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, GROUP)})
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.look(61)
    assert scene.wanted() == {"twice": (1, DEVICE)}


def test_a_stick_that_was_pulled_out_changes_nothing(scene: Scene) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    stick = scene.folder / "stick"
    shutil.copytree(scene.fleet.public, stick)
    scene.instructions = scene.begin([FolderRepository(stick)])
    scene.look()
    shutil.rmtree(stick)
    scene.look(61)
    assert scene.wanted() == {"twice": (1, DEVICE)}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    drip = False

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if not self.drip:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            return None


@pytest.fixture
def serve() -> Iterator[object]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def begin(folder: Path, drip: bool = False) -> str:
        handler = type("Handler", (_Quiet,), {"drip": drip})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: handler(*args, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_web_server_serves_as_well(scene: Scene, serve: object) -> None:
    scene.fleet.assign(DEVICE, {"twice": 1})
    scene.instructions = scene.begin([HttpRepository(serve(scene.fleet.public))])  # type: ignore[operator]
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)})


def test_slow_retrieval_of_metadata_ends(scene: Scene, serve: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gives a byte now and then holds up nothing but itself."""
    monkeypatch.setattr(module, "_WHOLE_S", 0.2)
    repository = HttpRepository(serve(scene.fleet.public, drip=True))  # type: ignore[operator]
    with pytest.raises(PeerError) as caught:
        repository.metadata("timestamp")
    assert caught.value.code == "repository-unreachable"


def test_a_web_server_that_is_not_there_is_told(scene: Scene) -> None:
    with pytest.raises(PeerError) as caught:
        HttpRepository("http://127.0.0.1:9").metadata("timestamp")
    assert caught.value.code == "repository-unreachable"
