"""`edged run` on a serial port: readings to results, results to the firmware, gaps by the release's rule, and a recording of it all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edged.records import Batch
from tests.daemon import Daemon, Status, codes, edged, pipeline
from tests.firmwares import VIBRO, FakeFirmware
from tests.lanes import Lane
from tests.releases import changed, twice
from tests.serial_ports import SerialCable
from tests.test_serial_decoder import S, block
from tests.test_swap import fresh, swap
from tests.waiting import PATIENCE_S, until

RATE_HZ = 1000
FAST = replace(VIBRO, rate_hz=float(RATE_HZ))
BLOCK = 20


class Shaking:
    """A firmware that measures all the time, in a thread of its own, until it is stopped."""

    def __init__(self, cable: SerialCable, firmware: FakeFirmware) -> None:
        self.cable = cable
        self.firmware = firmware
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic_ns()
        while not self._over.wait(BLOCK / RATE_HZ):
            tick = (time.monotonic_ns() - began) // 1000
            count = round((tick - self.firmware.tick) * RATE_HZ / 1e6)
            if count > 0:
                self.cable.say(lambda count=count, tick=tick: self.firmware.samples([[2, 4, 6]] * min(count, 160), tick))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[SerialCable]:
    made = SerialCable(tmp_path / "sensor", FakeFirmware(FAST))
    yield made
    made.close()


@pytest.fixture
def shaking(cable: SerialCable) -> Iterator[Shaking]:
    assert cable.firmware is not None
    made = Shaking(cable, cable.firmware)
    yield made
    made.stop()


def configured(folder: Path, cable: SerialCable, release: Path, source: str = "", more: str = "") -> Daemon:
    outputs = f'[ {{ type = "file", path = "{folder / "out.jsonl"}" }}, {{ type = "serial" }} ]'
    text = pipeline("shaker", f'{{ type = "serial", port = "{cable.path}"{source} }}', model=release, outputs=outputs, more=more)
    return Daemon(folder / "daemon", text.replace(f"decoder = {pipeline.__kwdefaults__['decoder']}\n", ""))


@pytest.fixture
def daemon(tmp_path: Path, cable: SerialCable) -> Iterator[Daemon]:
    made = configured(tmp_path, cable, twice(tmp_path / "twice", 3, 100, 100, RATE_HZ))
    yield made
    made.kill()


def results(daemon: Daemon) -> list[Status]:
    path = daemon.folder.parent / "out.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_readings_become_results_and_results_go_down_to_the_firmware(daemon: Daemon, shaking: Shaking) -> None:
    daemon.start()
    until(lambda: len(results(daemon)) >= 5, "results come", daemon.tail)
    assert results(daemon)[-1]["output"]["values"][:3] == [2.0, 4.0, 6.0]
    assert "clock" not in results(daemon)[-1]
    until(lambda: shaking.firmware.results, "the firmware is told")
    assert shaking.firmware.results[0].score == 2.0
    status = daemon.until(lambda status: status["serial"][0]["results_sent"] > 3, "results are counted")
    assert status["serial"][0]["framing"] == "framed"
    assert daemon.stop() == 0


def test_lost_frames_cost_the_window_they_were_in_and_are_counted(daemon: Daemon, shaking: Shaking) -> None:
    daemon.start()
    until(lambda: len(results(daemon)) >= 2, "results come", daemon.tail)
    with shaking.cable._lock:
        shaking.firmware.lose(3)
        time.sleep(0.2)  # the sensor goes on meanwhile; what it measures is on no line
        shaking.firmware.tick += 200_000
    status = daemon.until(lambda status: status["pipelines"][0]["dropped"].get("gap"), "the window is let go")
    assert status["serial"][0]["lost_frames"] == 3
    assert status["serial"][0]["gaps"] == 1
    before = len(results(daemon))
    until(lambda: len(results(daemon)) >= before + 2, "and results go on", daemon.tail)


def test_a_cable_that_is_pulled_and_plugged_in_again_costs_no_restart(daemon: Daemon, cable: SerialCable) -> None:
    shaking = Shaking(cable, FakeFirmware(FAST))
    cable.firmware = shaking.firmware
    daemon.start()
    until(lambda: len(results(daemon)) >= 2, "results come", daemon.tail)
    shaking.stop()
    cable.unplug()
    daemon.until(lambda status: {"serial-port-lost", "serial-port-missing"} & codes(status), "it says so")
    cable.firmware = FakeFirmware(FAST, session=0x77)
    cable.plug()
    shaking = Shaking(cable, cable.firmware)
    before = len(results(daemon))
    until(lambda: len(results(daemon)) >= before + 2, "results come again", daemon.tail)
    status = daemon.status()
    assert (status["serial"][0]["unplugged"], status["serial"][0]["restarts"]) == (1, 1)
    assert not {"serial-port-lost", "serial-port-missing"} & codes(status)
    shaking.stop()


def test_a_new_release_takes_other_channels_without_a_word_of_configuration(tmp_path: Path, cable: SerialCable, shaking: Shaking) -> None:
    first = twice(tmp_path / "first", 3, 100, 100, RATE_HZ)
    second = changed(first, tmp_path / "second", ("release = 1", "release = 2"), ("['c0', 'c1', 'c2']", "['z', 'y', 'x']"))
    for release in (first, second):
        done = edged("pack", str(release), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    daemon = configured(tmp_path, cable, first)
    text = daemon.file.read_text().replace(f'model_dir = "{first}"', 'model = "twice"')
    daemon.file.write_text(text)
    try:
        installed = edged("models", "install", str(first), "--config", str(daemon.file), cwd=tmp_path)
        assert installed.returncode == 0, installed.stdout + installed.stderr
        daemon.start()
        until(lambda: results(daemon), "results come", daemon.tail)
        assert results(daemon)[-1]["output"]["values"][:3] == [2.0, 4.0, 6.0]
        installed = edged("models", "install", str(second), "--config", str(daemon.file), cwd=tmp_path)
        assert installed.returncode == 0, installed.stdout + installed.stderr
        until(lambda: results(daemon)[-1]["model"]["release"] == 2, "the new release serves", daemon.tail)
        of_second = [each["output"]["values"] for each in results(daemon) if each["model"]["release"] == 2]
        assert all(values == [6.0, 4.0, 2.0] * 100 for values in of_second)  # none mixes what both releases take
    finally:
        daemon.kill()


def test_what_a_serial_port_brings_can_be_recorded_and_replayed(daemon: Daemon, shaking: Shaking) -> None:
    command = [sys.executable, "-m", "edged.cli.main", "record", "--config", str(daemon.file), "--out", "in.rec"]
    process = subprocess.Popen(command, cwd=daemon.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    recording = daemon.folder / "in.rec"
    until(lambda: recording.exists() and len(recording.read_bytes().splitlines()) > 40, "blocks are recorded")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    shaking.stop()
    first, again = (edged("replay", "in.rec", "--config", str(daemon.file), cwd=daemon.folder) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    assert json.loads(first.stdout.splitlines()[0])["output"]["values"][:3] == [2.0, 4.0, 6.0]


def test_lines_of_a_sketch_are_classified_without_a_decoder(tmp_path: Path) -> None:
    cable = SerialCable(tmp_path / "sensor")
    daemon = configured(tmp_path, cable, twice(tmp_path / "twice", 3, 10, 10, 26.0))
    daemon.file.write_text(daemon.file.read_text().replace(', { type = "serial" }', ""))
    try:
        daemon.start()
        daemon.until(lambda status: status["serial"][0]["state"] == "open", "the port is open")
        cable.say(b"0.5,9.8\nx,y,z\n")
        for i in range(40):
            cable.say(b"1,2,3\n" if i % 10 else b"sensor is warm\n")
        until(lambda: len(results(daemon)) >= 3, "results come", daemon.tail)
        assert results(daemon)[0]["output"]["values"][:3] == [2.0, 4.0, 6.0]
        assert results(daemon)[0]["clock"] == "arrival"
        assert daemon.pipeline("shaker")["rejected"]["debug-print"] >= 3
        assert cable.heard == b""
    finally:
        daemon.kill()
        cable.close()


@pytest.mark.parametrize(("gap", "windows", "filled", "lost"), [("void", 2, 0, 2), ("hold", 3, 2, 0), ("interpolate", 3, 2, 0)])
def test_a_hole_in_a_stream_of_blocks_follows_the_rule_of_the_release(
    tmp_path: Path, gap: str, windows: int, filled: int, lost: int
) -> None:
    """A reading a second, four a window; between two blocks of six, two readings are missing."""
    release = changed(twice(tmp_path / "twice", 3, 4, 4, 1.0), tmp_path / gap, ('gap = "void"', f'gap = "{gap}"'))
    lane = Lane(release, {"type": "bridge"})
    before, after = (block([[2, 4, 6]] * 6, rate_hz=1.0, first=first * S, last=(first + 5) * S) for first in (1, 9))
    lane.pipeline.process(Batch([b"in/a", b"in/a"], [before, after], lane.clock.wall(), lane.clock.mono()))
    counters = lane.counters
    assert (counters.windows, counters.filled, counters.dropped.get("gap", 0)) == (windows, filled, lost)


FOUR = ("['c0', 'c1', 'c2', 'c3']", "['a', 'b', 'c', 'd']")


@pytest.mark.parametrize(
    ("names", "windows", "lost"),
    [
        (["d", "b"], 2, 0),  # fewer: those that wait are found by name
        (["a", "b", "c", "d"], 2, 0),
        (["d", "c", "b", "a"], 1, 2),  # the same in another order: where a firmware has other names, nobody could tell which is which
        (["a", "e"], 0, 2),
    ],
)
def test_readings_that_wait_at_a_swap_go_on_where_their_channels_are_known(
    tmp_path: Path, names: list[str], windows: int, lost: int
) -> None:
    first = changed(twice(tmp_path / "four", 4, 4, 4, 1.0), tmp_path / "first", FOUR)
    second = twice(tmp_path / "second", len(names), 4, 4, 1.0)
    changes = (str([f"c{i}" for i in range(len(names))]), str(names)), ("release = 1", "release = 2")
    second = changed(second, tmp_path / "changed", *changes)
    lane = fresh(first, {"type": "bridge"})
    rows = [[2, 4, 6, 8]] * 6

    def put(first_s: int) -> None:
        payload = block(rows, "a", "b", "c", "d", rate_hz=1.0, first=first_s * S, last=(first_s + 5) * S)
        lane.pipeline.process(Batch([b"in/a"], [payload], lane.clock.wall(), lane.clock.mono()))

    put(1)
    swap(lane, second)
    put(7)
    assert [each.model.release for each in lane.kept.results] == [1] + [2] * windows
    by_name = dict(zip("abcd", [2.0, 4.0, 6.0, 8.0]))
    assert all(each.output["values"] == [by_name[name] for name in names] * 4 for each in lane.kept.results[1:])
    assert lane.counters.dropped.get("release-changed", 0) == lost


def test_two_firmwares_on_one_line_are_told_and_the_first_is_read(daemon: Daemon, cable: SerialCable, shaking: Shaking) -> None:
    daemon.start()
    until(lambda: len(results(daemon)) >= 2, "results come", daemon.tail)
    other = FakeFirmware(replace(FAST, firmware="stranger"), session=0x4242)

    def told(status: Status) -> bool:  # at first it might be a restart
        cable.say(other.block)
        return "serial-two-senders" in codes(status) and "other-sender" in status["serial"][0]["faults"]

    status = daemon.until(told, "the second one is seen")
    assert status["serial"][0]["two_senders"]
    assert status["serial"][0]["firmware"] == "vibro"
    before = len(results(daemon))
    until(lambda: len(results(daemon)) >= before + 2, "the first goes on", daemon.tail)
    daemon.until(lambda status: "serial-two-senders" not in codes(status), "it is over when the other is silent")


def test_a_firmware_that_always_says_the_same_session_is_seen_to_restart(daemon: Daemon, cable: SerialCable) -> None:
    firmware = FakeFirmware(FAST, session=1)
    cable.firmware = firmware
    shaking = Shaking(cable, firmware)
    daemon.start()
    until(lambda: len(results(daemon)) >= 5, "results come", daemon.tail)
    shaking.stop()
    cable.say(firmware.start)
    shaking = Shaking(cable, firmware)
    before = len(results(daemon))
    until(lambda: len(results(daemon)) >= before + 2, "results go on", daemon.tail)
    assert daemon.status()["serial"][0]["restarts"] == 1
    shaking.stop()


def test_bytes_at_another_baud_rate_are_told_and_good_ones_afterwards_are_read(daemon: Daemon, cable: SerialCable) -> None:
    daemon.start()

    def told(status: Status) -> bool:
        cable.say(bytes(range(128, 250)))
        return "serial-garbled" in codes(status)

    daemon.until(told, "it is told")
    shaking = Shaking(cable, FakeFirmware(FAST))
    cable.firmware = shaking.firmware
    until(lambda: len(results(daemon)) >= 2, "results come", daemon.tail)
    daemon.until(lambda status: "serial-garbled" not in codes(status), "it is over")
    shaking.stop()
