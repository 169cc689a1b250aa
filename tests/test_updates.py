"""Releases on a board with its daemon: tried, swapped in between two windows, watched, committed or undone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edged.errors import BoardError, PublisherError
from edged.models.packed import PACKED, parse_packed, seal_file
from edged.models.store import Store
from tests.broker import Mosquitto
from tests.daemon import Daemon, codes, on_topic
from tests.peer import Peer
from tests.rollouts import QUICK, asked, install, numbered, until_state, update_in

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

CONFIG = f"""
[[pipelines]]
name = "moves"
model = "har"
source = {on_topic("$FLEET/{key}")}
decoder = {{ type = "json", channels = ["x", "y", "z"], time = "ts" }}
"""


HOP = 130
FIRST = 260 + 2 * HOP  # readings for three windows
STATES = ["evaluate", "fetch", "verify", "trial", "activate", "confirm", "committed"]
# Readings of some thousands overflow float32 in the graph, the small ones of a trial do not.
FLOODS = ("factor = 0.00025", "factor = 1e34")


class Sensor:
    """Publishes a plain movement, reading by reading, with event time."""

    def __init__(self, peer: Peer, daemon: Daemon) -> None:
        self.peer = peer
        self.topic, self.out = f"{daemon.fleet}/a", daemon.out("moves")
        self.times = count(1_795_351_772_000, 38)  # 26 Hz in whole milliseconds
        self.sent = 0

    def readings(self, number: int) -> None:
        """Publish the next ones."""
        for _ in range(number):
            ts = next(self.times)
            self.peer.publish(self.topic, json.dumps({"ts": ts, "x": ts % 97, "y": ts % 31, "z": 1000}).encode())
        self.sent += number

    def results(self, number: int) -> list[dict[str, Any]]:
        """Wait until so many results came in all; give them."""
        return self.peer.results(self.out, number)


@pytest.fixture
def daemon(make_daemon: MakeDaemon, broker: Mosquitto) -> Daemon:
    """Give a daemon whose pipeline has no model yet."""
    return make_daemon(CONFIG, broker.port).start()


@pytest.fixture
def sensor(daemon: Daemon, broker: Mosquitto) -> Iterator[Sensor]:
    """Give a sensor, on a client that hears the pipeline's results."""
    with Peer(broker.port, daemon.out("moves")) as peer:
        yield Sensor(peer, daemon)


def spoil_goldens(release: Path) -> None:
    """Change the golden outputs of a packed release, and seal it again without the check that `edged pack` makes."""
    path = next(release.glob("golden*.npz"))
    arrays = dict(np.load(path))
    arrays["outputs"] = arrays["outputs"] + 1
    np.savez(path, **arrays)
    packed = parse_packed((release / PACKED).read_bytes(), PACKED)
    sealed = msgspec.structs.replace(packed, files={**packed.files, path.name: seal_file(path)})
    (release / PACKED).write_bytes(sealed.encode())


def committed(daemon: Daemon, sensor: Sensor, folder: Path) -> None:
    """Bring a release to where it is the good one."""
    number = install(daemon, folder)["release"]
    until_state(daemon, "confirm", number)
    sensor.readings(FIRST if not sensor.sent else 3 * HOP)
    until_state(daemon, "committed", number)


def test_a_release_that_comes_while_the_daemon_runs_begins_its_pipeline(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    assert "pipeline-failed" in codes(daemon.status())
    install(daemon, numbered(tmp_path / "har1", 1))
    until_state(daemon, "confirm")
    sensor.readings(FIRST)
    assert {each["model"]["release"] for each in sensor.results(3)} == {1}
    update = until_state(daemon, "committed")
    assert update["report"]["goldens"] > 0
    status = daemon.status()
    assert not codes(status) & {"pipeline-failed", "updates-off"}
    assert status["models"][0]["last_good"]
    assert [each["state"] for each in daemon.logged("update")] == STATES


def test_a_swap_under_readings_loses_none_and_makes_no_result_twice(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    for number in (2, 3):
        install(daemon, numbered(tmp_path / f"har{number}", number))
        while update_in(daemon.status())["state"] not in ("confirm", "committed") or update_in(daemon.status())["release"] != number:
            sensor.readings(HOP)
        sensor.readings(3 * HOP)
        until_state(daemon, "committed", number)
    results = sensor.results(1 + (sensor.sent - 260) // HOP)
    ends = [each["window"]["end"] for each in results]
    assert ends == sorted(set(ends))
    releases = [each["model"]["release"] for each in results]
    assert releases == sorted(releases)
    assert set(releases) == {1, 2, 3}
    assert daemon.pipeline("moves")["dropped"] == {}


def test_without_memory_for_both_releases_messages_wait_for_the_new_one(make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path) -> None:
    daemon = make_daemon(CONFIG, broker.port)
    daemon.module = "tests.narrow"
    daemon.start()
    with Peer(broker.port, daemon.out("moves")) as peer:
        sensor = Sensor(peer, daemon)
        committed(daemon, sensor, numbered(tmp_path / "har1", 1))
        install(daemon, numbered(tmp_path / "har2", 2))
        while update_in(daemon.status())["state"] not in ("confirm", "committed"):
            sensor.readings(HOP)
        sensor.readings(3 * HOP)
        report = until_state(daemon, "committed", 2)["report"]["swap"]
        ends = [each["window"]["end"] for each in sensor.results(1 + (sensor.sent - 260) // HOP)]
    assert not report["beside"]
    assert report["gap_ms"] > 0
    assert ends == sorted(set(ends))
    assert daemon.pipeline("moves")["dropped"] == {}


def test_a_release_with_another_window_takes_over_the_readings(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    sensor.readings(100)
    install(daemon, numbered(tmp_path / "har2", 2, ("hop = 130", "hop = 65")))
    until_state(daemon, "confirm", 2)
    sensor.readings(30 + HOP)
    results = sensor.results(3 + 4)
    assert [each["model"]["release"] for each in results] == [1, 1, 1, 2, 2, 2, 2]
    assert daemon.pipeline("moves")["dropped"] == {}


def test_a_release_that_misses_its_goldens_never_serves(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    bad = numbered(tmp_path / "har2", 2)
    spoil_goldens(bad)
    install(daemon, bad)
    update = until_state(daemon, "rejected", 2)
    assert update["code"] == "golden-differs"
    sensor.readings(HOP)
    assert sensor.results(4)[-1]["model"]["release"] == 1
    with pytest.raises(PublisherError, match="nothing has changed since"):
        install(daemon, bad)


def test_a_release_that_gives_no_numbers_in_service_is_rolled_back_by_itself(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    install(daemon, numbered(tmp_path / "har2", 2, FLOODS), windows=1000, seconds=0.0)
    until_state(daemon, "confirm", 2)
    sensor.readings(10 * HOP)
    assert until_state(daemon, "rolled_back", 2)["code"] == "error-flood"
    daemon.until(lambda status: status["models"][0]["release"] == 1, "release 1 serves again")
    sensor.readings(HOP)
    last = daemon.until(lambda status: status["pipelines"][0]["results"] > 3, "it gives results again")
    assert not codes(last) & {"rollback-failing", "pipeline-failed"}


def test_a_release_is_undone_after_two_crashes_while_it_is_new(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    install(daemon, numbered(tmp_path / "har2", 2), windows=1000, seconds=0.0)
    until_state(daemon, "confirm", 2)
    for release in (2, 1):
        daemon.kill()
        daemon.start()
        assert daemon.status()["models"][0]["release"] == release
    assert until_state(daemon, "rolled_back", 2)["code"] == "crash-loop"


def test_a_clean_stop_in_between_is_the_restart_that_a_release_must_survive(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    install(daemon, numbered(tmp_path / "har2", 2))
    until_state(daemon, "confirm", 2)
    assert daemon.stop() == 0
    daemon.start()
    assert daemon.status()["models"][0]["release"] == 2
    sensor.readings(3 * HOP)
    until_state(daemon, "committed", 2)


def test_a_shadow_sees_live_windows_before_it_serves(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    install(daemon, numbered(tmp_path / "har2", 2), shadow=4, **QUICK)
    daemon.until(lambda status: "shadow" in update_in(status)["stage"], "the shadow looks on")
    while update_in(daemon.status())["state"] == "trial":
        sensor.readings(HOP)
    until_state(daemon, "confirm", 2)
    sensor.readings(3 * HOP)
    seen = until_state(daemon, "committed", 2)["report"]["shadow"]
    assert (seen["disagreed"], seen["errors"], seen["skipped"]) == (0, 0, 0)
    assert seen["windows"] >= seen["compared"] >= 1
    ends = [each["window"]["end"] for each in sensor.results(1 + (sensor.sent - 260) // HOP)]
    assert ends == sorted(set(ends))


def test_an_update_is_cancelled_while_its_shadow_waits_for_readings(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    install(daemon, numbered(tmp_path / "har2", 2), shadow=4)
    daemon.until(lambda status: "shadow" in update_in(status)["stage"], "the shadow looks on")
    asked(daemon, "cancel", model="har")
    assert until_state(daemon, "rejected", 2)["code"] == "cancelled"
    install(daemon, tmp_path / "har2")
    until_state(daemon, "confirm", 2)


def test_a_cancel_in_service_goes_back(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    install(daemon, numbered(tmp_path / "har2", 2), windows=1000)
    until_state(daemon, "confirm", 2)
    asked(daemon, "cancel", model="har")
    assert until_state(daemon, "rolled_back", 2)["code"] == "cancelled"
    daemon.until(lambda status: status["models"][0]["release"] == 1, "release 1 serves again")


def test_an_operator_goes_back_to_the_good_release_before_and_forward_again(daemon: Daemon, sensor: Sensor, tmp_path: Path) -> None:
    committed(daemon, sensor, numbered(tmp_path / "har1", 1))
    committed(daemon, sensor, numbered(tmp_path / "har2", 2))
    for target in (1, 2):
        assert asked(daemon, "rollback", model="har")["release"] == target
        until_state(daemon, "committed", target)
        assert daemon.status()["models"][0]["release"] == target


def test_what_a_daemon_without_a_writable_store_says(make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path) -> None:
    daemon = make_daemon(CONFIG, broker.port)
    with Store(daemon.folder / "state").claim():
        daemon.start()
        assert "updates-off" in codes(daemon.status())
        with pytest.raises(BoardError, match="writes the store"):
            install(daemon, numbered(tmp_path / "har1", 1))
