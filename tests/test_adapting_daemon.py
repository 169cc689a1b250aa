"""A daemon that follows its board: another variant under pressure and back, by the same swap as an update, and what it says of it."""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edged.select.measured import FILE as MEASURED
from edged.select.measured import Measured, Measurements
from tests.broker import Mosquitto
from tests.conftest import REPO
from tests.daemon import Daemon, codes, edged, on_topic, pipeline
from tests.peer import Peer

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

AD01 = REPO / "tests" / "data" / "ad01"
CHANNELS = [f"m{i:03}" for i in range(128)]
DECODER = f'{{ type = "json", channels = {json.dumps(CHANNELS)}, time = "ts" }}'
WINDOW = 5


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Give a board in a folder that a test may write to."""
    return shutil.copytree(REPO / "tests" / "data" / "boards" / "raspberry-pi-4b-1gb", tmp_path / "board")


def has_available(board: Path, mib: int) -> None:
    path = board / "proc" / "meminfo"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("MemAvailable")]
    part = path.with_name("meminfo.part")
    part.write_text("\n".join([*lines, f"MemAvailable: {mib << 10} kB"]) + "\n")
    part.replace(path)


def on_board(daemon: Daemon, board: Path) -> Daemon:
    daemon.module = "tests.on_board"
    daemon.environ = {"EDGED_BOARD": str(board)}
    return daemon


class Car:
    """Sends frames of a toy car's sound with event time."""

    def __init__(self, peer: Peer, topic: str) -> None:
        self.peer, self.topic, self.times, self.sent = peer, topic, count(1_795_351_772_000, 32), 0

    def frames(self, number: int) -> None:
        for _ in range(number):
            ts = next(self.times)
            self.peer.publish(self.topic, json.dumps({"ts": ts, **{name: (ts + i) % 7 - 3 for i, name in enumerate(CHANNELS)}}).encode())
        self.sent += number


def test_short_memory_takes_the_smaller_variant_and_relief_the_better_one_back_without_a_lost_window(
    make_daemon: MakeDaemon, broker: Mosquitto, board: Path
) -> None:
    has_available(board, 500)
    config = pipeline("car", on_topic("$FLEET/a"), decoder=DECODER, model=AD01, more="deadline_ms = 60000")
    daemon = on_board(make_daemon(config, broker.port), board).start()
    assert daemon.pipeline("car")["variant"] == "fp32"
    with Peer(broker.port, daemon.out("car"), daemon.topic("evt/variant")) as peer:
        car = Car(peer, f"{daemon.fleet}/a")
        car.frames(20)
        has_available(board, 8)
        smaller = daemon.until(lambda status: status["pipelines"][0]["variant"] not in ("", "fp32"), "it runs a smaller variant")
        car.frames(20)
        has_available(board, 500)
        daemon.until(lambda status: status["pipelines"][0]["variant"] == "fp32", "it runs the best one again")
        car.frames(20)
        results = peer.results(daemon.out("car"), car.sent - WINDOW + 1)
        events = peer.results(daemon.topic("evt/variant"), 2)
    ends = [each["window"]["end"] for each in results]
    assert (len(ends), len(set(ends))) == (car.sent - WINDOW + 1,) * 2
    name = smaller["pipelines"][0]["variant"]
    assert {each["model"]["variant"] for each in results} == {"fp32", name}
    down, up = events[:2]
    assert (down["from"], down["to"], down["cause"], "MiB are available" in down["text"]) == ("fp32", name, "memory-pressure", True)
    assert (up["from"], up["to"], up["cause"]) == (name, "fp32", "relief")


def test_why_asks_the_daemon_and_shows_what_runs_and_what_was_measured(
    make_daemon: MakeDaemon, broker: Mosquitto, board: Path, tmp_path: Path
) -> None:
    config = pipeline("car", on_topic("$FLEET/a"), decoder=DECODER, model=AD01)
    daemon = on_board(make_daemon(config, broker.port), board).start()
    with Peer(broker.port) as peer:
        Car(peer, f"{daemon.fleet}/a").frames(60)
        status = daemon.until(lambda status: status["pipelines"][0]["cost"]["measured_ms"], "a window's time was measured")
    assert status["pipelines"][0]["cost"]["predicted_ms"] > 0
    assert (status["board"]["profile"], status["board"]["generic"], status["board"]["notes"]) == ("raspberry-pi-4b-1gb", False, [])
    shown = edged("why", "--config", str(daemon.file), "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    answer = json.loads(shown.stdout)
    assert (answer["board"], answer["running"]) == ("raspberry-pi-4b-1gb", {"car": "fp32"})
    rows = {row["variant"]: row for row in answer["rows"]}
    assert rows["fp32"]["chosen"]
    assert rows["fp32"]["measured_ms"] > 0
    assert rows["int8"]["reason"].startswith("quality: 0.842, fp32 has 0.876") or rows["int8"]["reason"].startswith("quality: 0.841")
    assert "fp32" in edged("why", "car", "--config", str(daemon.file), cwd=tmp_path).stdout.decode()
    assert daemon.stop() == 0
    assert (daemon.folder / "state" / MEASURED).exists()


def test_a_pipeline_whose_deadline_no_variant_meets_runs_the_fastest_and_says_so(
    make_daemon: MakeDaemon, broker: Mosquitto, board: Path
) -> None:
    config = pipeline("car", on_topic("$FLEET/a"), decoder=DECODER, model=AD01, more="deadline_ms = 0.0001")
    daemon = on_board(make_daemon(config, broker.port), board).start()
    status = daemon.until(lambda status: "variant-too-slow" in codes(status), "it is told")
    assert status["pipelines"][0]["variant"] != "fp32"
    condition = next(each for each in status["health"] if each["code"] == "variant-too-slow")
    assert "deadline: " in condition["text"]
    assert "`edged why`" in condition["hint"]


def test_a_pipeline_for_which_there_is_no_memory_is_refused_with_the_nearest_miss(
    make_daemon: MakeDaemon, broker: Mosquitto, board: Path
) -> None:
    text = (board / "proc" / "meminfo").read_text()
    (board / "proc" / "meminfo").write_text(
        "\n".join("MemTotal: 2048 kB" if line.startswith("MemTotal") else line for line in text.split("\n"))
    )
    config = pipeline("car", on_topic("$FLEET/a"), decoder=DECODER, model=AD01)
    daemon = on_board(make_daemon(config, broker.port), board).launch()
    status = daemon.until(lambda status: "pipeline-failed" in codes(status), "it is told")
    condition = next(each for each in status["health"] if each["code"] == "pipeline-failed")
    assert "memory: needs" in condition["text"]
    assert "nearest is" in condition["text"]


def test_an_unknown_board_is_told_so_in_status_with_the_way_to_contribute(
    make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    unknown = shutil.copytree(REPO / "tests" / "data" / "boards" / "beaglebone-ai-64", tmp_path / "unknown")
    daemon = on_board(make_daemon(pipeline("car", on_topic("$FLEET/a"), decoder=DECODER, model=AD01), broker.port), unknown).start()
    status = daemon.status()
    assert (status["board"]["profile"], status["board"]["generic"]) == ("generic-aarch64", True)
    shown = edged("status", "--config", str(daemon.file), cwd=tmp_path).stdout.decode()
    assert "generic-aarch64" in shown
    assert "how to contribute one" in " ".join(shown.split())


def test_what_was_measured_is_kept_by_file_build_and_board(tmp_path: Path) -> None:
    one: dict[str, Any] = {"sha256": "a" * 64, "build": "litert 2", "board": "pi"}
    kept = Measurements(tmp_path)
    kept.note(**one, measured=Measured(p50_ms=2.0, p95_ms=3.0, windows=50, mib=1.5), at=1)
    kept.note(**one, measured=Measured(p50_ms=4.0, p95_ms=5.0, windows=60), at=2)
    kept.save()
    again = Measurements(tmp_path)
    found = again.find(**one)
    assert found is not None
    assert (found.p50_ms, found.p95_ms, found.windows, found.mib) == (4.0, 5.0, 60, 1.5)
    assert again.find(**(one | {"build": "litert 3"})) is None
    assert again.find(**(one | {"board": "rock"})) is None


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"v":2,"entries":[]}', b'{"v":1,"entries":[{"sha256":"x"}]}', b"[" * 100_000, b"\xff" * 2_000_000]
)
def test_a_file_of_measurements_that_is_damaged_counts_as_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MEASURED).write_bytes(data)
    kept = Measurements(tmp_path)
    kept.note("b" * 64, "litert", "pi", Measured(p50_ms=1.0, p95_ms=1.0, windows=20), 1)
    kept.save()
    assert Measurements(tmp_path).find("b" * 64, "litert", "pi") is not None


def test_only_the_newest_measurements_are_kept(tmp_path: Path) -> None:
    kept = Measurements(tmp_path)
    for i in range(300):
        kept.note(f"{i:064x}", "litert", "pi", Measured(p50_ms=1.0, p95_ms=1.0, windows=20), i)
    kept.save()
    again = Measurements(tmp_path)
    assert again.find(f"{0:064x}", "litert", "pi") is None
    assert again.find(f"{299:064x}", "litert", "pi") is not None
