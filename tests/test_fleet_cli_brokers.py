"""`edged fleet` with a real Mosquitto: publish, serve, watch as processes and commands, and the rules that acl prints."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edged.cli.main import main
from edged.clock import SystemClock
from edged.config.schema import Broker
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics
from edged.publisher.acl import mosquitto
from tests.broker import Mosquitto, free_port
from tests.conftest import REPO
from tests.fleets import Fleet
from tests.stores import tiny
from tests.test_publisher_serving import Board, at, filled
from tests.test_publisher_view import reported, update
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.fixtures import MakeBroker

pytest_plugins = ["tests.fixtures"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["fleet", *map(str, args)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def edged(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Give a function that starts `edged fleet …` as a process; none is left."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edged.cli.main", "fleet", *map(str, args)]
        with (tmp_path / f"out{len(started)}").open("wb") as out, (tmp_path / f"err{len(started)}").open("wb") as err:
            started.append(subprocess.Popen(command, cwd=REPO, stdout=out, stderr=err, stdin=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE_S)


def url(broker: Mosquitto) -> str:
    return f"mqtt://127.0.0.1:{broker.port}"


class Speaker:
    """A device that says of itself what a test wants."""

    def __init__(self, broker: Broker, fleet: str, device: str, password: str = "") -> None:
        self.topics = DeviceTopics(fleet, device)
        self.link = Link(
            device, broker, f"{device}-{random.getrandbits(32)}", SystemClock(), random.Random(), password=password, keep_session=False
        )
        self.link.start()
        until(lambda: self.link.state.state == "connected", "it is connected", lambda: self.link.state)

    def say(self, rest: str, content: Any) -> None:
        """Publish, retained, and wait until the broker has it."""
        self.link.publish(Message(f"{self.topics.base}/{rest}", json.dumps(content).encode(), 1, True))
        until(lambda: not self.link.waiting, "the broker has it")


@pytest.fixture
def speak() -> Iterator[Callable[..., Speaker]]:
    made: list[Speaker] = []

    def make(broker: Mosquitto, fleet: str, device: str, **options: str) -> Speaker:
        made.append(Speaker(at(broker, username=options.get("username", "")), fleet, device, options.get("password", "")))
        return made[-1]

    yield make
    for each in made:
        each.link.stop(0.0)


def test_publish_says_what_it_put_on_the_broker(run: Run, broker: Mosquitto, tmp_path: Path) -> None:
    fleet = filled(tmp_path, "cli-publishes")
    code, out, err = run("publish", fleet.folder, "--broker", url(broker))
    assert code == 0, err
    assert "root/1, targets/2, snapshot/2, timestamp" in out
    assert "orders: dev:press-7, group:line-3" in out
    told = json.loads(run("publish", fleet.folder, "--broker", url(broker), "--json")[1])
    assert told["mqtt"] == "5"
    assert told["warnings"] == []


def test_no_broker_ends_publish_and_watch_with_4(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.publisher.post.reach.__defaults__", (0.5,))
    fleet = Fleet(tmp_path / "fleet")
    nobody = f"mqtt://127.0.0.1:{free_port()}"
    for args in (("publish", fleet.folder, "--broker", nobody), ("watch", "--broker", nobody, "--fleet", "x")):
        code, _, err = run(*args)
        assert code == 4
        assert "nothing listens" in err


def test_serve_serves_publishes_changes_and_ends_cleanly_on_sigterm(
    edged: Callable[..., subprocess.Popen[bytes]], broker: Mosquitto, tmp_path: Path
) -> None:
    fleet = filled(tmp_path, "cli-serves")
    process = edged("serve", fleet.folder, "--broker", url(broker))
    board = Board(at(broker), fleet.name, "press-7")
    try:
        board.until_has(fleet)
        fleet.add(tiny(tmp_path / "r2", 2))
        board.until_has(fleet)
        digest = fleet.digest("twice", 2)
        assert board.fetch(digest, len(fleet.blob(digest))) == fleet.blob(digest)
    finally:
        board.link.stop(0.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    said = (tmp_path / "err0").read_text()
    assert "serving fleet cli-serves" in said
    assert "connected over MQTT 5" in said
    assert "served " in said


def test_watch_prints_a_line_for_each_change_and_ends_after_its_seconds(run: Run, speak: Any, broker: Mosquitto) -> None:
    press = speak(broker, "watched", "press-7")
    press.say("status", {"state": "online", "session": 1, "time": ""})
    press.say("reported", reported(2, 2, 3, update=update(3, "fetch")))
    code, out, _ = run("watch", "--broker", url(broker), "--fleet", "watched", "--seconds", "1")
    assert code == 0
    assert out.splitlines()[-1] == "press-7 har: online, runs 2 int8, wants 3, 3 fetch, 41 %"
    code, out, _ = run("watch", "--broker", url(broker), "--fleet", "watched", "--seconds", "1", "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert {(each["device"], each["topic"], each["retained"]) for each in said} == {
        ("press-7", "status", True),
        ("press-7", "reported", True),
    }


def test_watch_until_a_release_is_committed_everywhere(run: Run, speak: Any, broker: Mosquitto) -> None:
    one, two = speak(broker, "until", "a"), speak(broker, "until", "b")
    one.say("reported", reported(3, 3, 3))
    two.say("reported", reported(3, 2, 3, update=update(3, "confirm")))
    args = ("watch", "--broker", url(broker), "--fleet", "until", "--until", "har=3", "--seconds")
    code, _, err = run(*args, 3)
    assert code == 1
    assert "not yet: b [not-committed]" in err
    two.say("reported", {**reported(3, 3, 3), "seq": 2})
    code, _, err = run(*args, 60)
    assert code == 0
    assert "every device has committed har 3: a, b" in err
    two.say("reported", {**reported(2, 2, 3, update=update(3, "rolled_back", code="late", text="too slow")), "seq": 3})
    code, _, err = run(*args, 60)
    assert code == 1
    assert "har 3 failed on b: too slow [late] [update-failed]" in err
    assert run(*args[:-2], "har", "--seconds", 1)[0] == 3


def test_the_rules_for_mosquitto_let_each_do_its_own_and_nothing_else(
    make_broker: MakeBroker, speak: Any, run: Run, tmp_path: Path
) -> None:
    users = {"fleet-manager": "m", "press-7": "7", "press-8": "8"}
    broker = make_broker(users=users, acl=mosquitto("plant-a", [], "fleet-manager")).start()
    fleet = filled(tmp_path, "plant-a")
    (tmp_path / "password").write_text("m\n")
    (tmp_path / "seven").write_text("7\n")
    as_manager = ("--broker", url(broker), "--username", "fleet-manager", "--password-file", tmp_path / "password")
    code, _, err = run("publish", fleet.folder, *as_manager)
    assert code == 0, err
    own = Board(at(broker, username="press-7"), "plant-a", "press-7", "7")
    other = Board(at(broker, username="press-8"), "plant-a", "press-7", "8")
    try:
        own.until_has(fleet)
        until(lambda: own.topics.desired in own.held, "its own orders come")
        other.until_has(fleet)
        until(lambda: own.of_fleet.group_desired("line-3") in other.held, "the group's orders come")
        assert own.topics.desired not in other.held
    finally:
        own.link.stop(0.0)
        other.link.stop(0.0)
    code, _, err = run("publish", fleet.folder, "--broker", url(broker), "--username", "press-7", "--password-file", tmp_path / "seven")
    assert code == 1
    assert "[publish-refused]" in err
    thief = speak(broker, "plant-a", "press-7", username="press-8", password="8")
    own_voice = speak(broker, "plant-a", "press-8", username="press-8", password="8")
    for rest in ("status", "reported", "evt/update", "birth"):
        thief.say(rest, {"state": "online", "session": 1, "time": ""})
        own_voice.say(rest, {"state": "online", "session": 1, "time": ""})
    assert thief.link.dropped["publish-refused"] == 4
    assert not own_voice.link.dropped
    code, out, _ = run("watch", *as_manager, "--fleet", "plant-a", "--seconds", "1", "--json")
    assert {json.loads(line)["device"] for line in out.splitlines()} == {"press-8"}
