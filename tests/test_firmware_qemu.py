"""From sensor to LED: the compiled firmware in an emulated Cortex-M3, a serial port, the daemon with a model, and back.

Nothing is played faster than it was recorded: 15 s at rest, then 20 s of running, windows of 10 s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.c_firmware import make, need
from tests.daemon import HAR, Daemon, Status, edged, pipeline
from tests.emulator import Emulator
from tests.releases import changed
from tests.waiting import until

ALARM = 'labels = ["stationary", "walking", "running"]\nalarm = { label = "running", on = 0.9, off = 0.7 }'


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    build = tmp_path_factory.mktemp("build")
    make("example", build)
    return build / "mps2.elf"


@pytest.fixture
def emulator(elf: Path, tmp_path: Path) -> Iterator[Emulator]:
    it = Emulator(elf, tmp_path)
    yield it
    it.kill()


@pytest.fixture
def daemon(emulator: Emulator, tmp_path: Path) -> Iterator[Daemon]:
    """One pipeline on the emulator's port, which says after every second what it sees, in a file and down the line."""
    release = changed(HAR, tmp_path / "release", ("hop = 130", "hop = 26"), (ALARM.split("\n")[0], ALARM))
    source = f'{{ type = "serial", port = "{emulator.path}" }}'
    outputs = f'[{{ type = "file", path = "{tmp_path / "results"}" }}, {{ type = "serial", when = "change" }}]'
    it = Daemon(tmp_path / "d", pipeline("moves", source, decoder='{ type = "bridge" }', model=release, outputs=outputs))
    yield it
    it.kill()


def test_the_led_goes_on_when_the_model_hears_running_and_a_restart_is_lived_through(
    emulator: Emulator, daemon: Daemon, tmp_path: Path
) -> None:
    daemon.launch()
    daemon.until(lambda now: only_port(now)["state"] == "failing", "the daemon waits for the sensor to be plugged in")
    emulator.start()
    until(lambda: "LED on: running" in " ".join(emulator.led), "the LED is on", lambda: f"{emulator.led}\n{daemon.tail()}")
    assert [line.rpartition(" ")[0] for line in emulator.led] == ["LED off:", "LED on: running"]
    assert float(emulator.led[-1].split()[-1]) >= 0.9
    results = read_results(tmp_path)
    order = [result for result, _ in groupby(results) if result[0] != "walking"]  # a window of both may be either
    assert order[0] == ("stationary", False)
    assert order[-1] == ("running", True)
    assert [label for label, _ in groupby(label for label, _ in order)] == ["stationary", "running"]
    assert len([label for label, _ in results if label == "stationary"]) >= 3
    status = only_port(daemon.status())
    assert (status["state"], status["framing"], status["firmware"]) == ("open", "framed", "mps2-example")
    assert status["channels"] == {"x": "mg", "y": "mg", "z": "mg"}
    assert [name for name, count in status["faults"].items() if count and name != "no-hello"] == [], "but blocks before the first HELLO"
    assert status["results_sent"] >= 2
    assert "running" in status["last_event"], "the firmware told when it began"

    emulator.kill()
    daemon.until(lambda now: only_port(now)["unplugged"] == 1, "the daemon sees that the cable is out")
    emulator.start()
    daemon.until(lambda now: only_port(now)["state"] == "open" and only_port(now)["restarts"] == 1, "another run of it")
    until(lambda: read_results(tmp_path)[-1] == ("stationary", False), "the pipeline goes on with what comes now", daemon.tail)
    answer = edged("status", "--json", "--config", str(daemon.file), cwd=tmp_path)
    assert only_port(json.loads(answer.stdout))["restarts"] == 1
    assert daemon.stop() == 0


def read_results(folder: Path) -> list[tuple[str, bool]]:
    """Give the results so far: the label, and whether the alarm is on."""
    path = folder / "results"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [(each["output"]["label"], each["alarm"]) for each in found]


def only_port(status: Status) -> dict[str, Any]:
    (port,) = status["serial"]
    found: dict[str, Any] = port
    return found


def test_the_monitor_says_who_is_on_the_line(emulator: Emulator, tmp_path: Path) -> None:
    emulator.start()
    done = edged("serial", "monitor", str(emulator.path), "--seconds", "3", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *_, seen = [each for each in map(json.loads, done.stdout.splitlines()) if each["kind"] == "seen"]
    assert seen["hello"]["firmware"] == "mps2-example"
    assert seen["rate_hz"] == pytest.approx(26.0, abs=0.5)
    x, y, z = (channel["last"] for channel in seen["channels"])
    assert (abs(x) < 100, abs(y) < 100, 900 < z < 1100) == (True, True, True), "at rest, with gravity on z, in mg"
