"""A serial line of the daemon, on a real pseudo-terminal: what comes, what goes, and what happens to the cable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edged.clock import SystemClock
from edged.config import schema
from edged.records import Batch
from edged.stream.blocks import MAGIC, read_head
from edged.stream.decoders.bridge import Bridge
from edged.stream.sources.serial import SerialSource
from edged.stream.sources.serial_line import SerialLine
from firmware_bridge.messages import Channel, Event, Result
from tests.firmwares import VIBRO, FakeFirmware
from tests.serial_ports import SerialCable
from tests.test_serial_decoder import XYZ
from tests.waiting import until

FAST = replace(VIBRO, rate_hz=1000.0)


class Bench:
    """A cable, a line on it and what one pipeline got of it."""

    def __init__(self, folder: Path, firmware: FakeFirmware | None, framing: str = "auto", texts: bool = False) -> None:
        self.firmware = firmware
        self.cable = SerialCable(folder / "sensor", firmware)
        self.line = SerialLine(schema.SerialSource(port=str(self.cable.path), framing=framing), SystemClock())  # type: ignore[arg-type]
        self.batches: list[Batch] = []
        self.source = SerialSource(self.line, texts)
        self.line.add(self.source)

    def start(self) -> Bench:
        self.source.start(self._take)
        return self

    def _take(self, batch: Batch) -> bool:
        self.batches.append(batch)
        return True

    @property
    def payloads(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in batch.payloads if payload is not None]

    def open(self) -> Bench:
        self.start()
        until(lambda: self.line.state().state == "open", "the port is open", self.line.state)
        return self

    def count(self, name: str) -> int:
        return self.line.state().counts.get(name, 0)

    def close(self) -> None:
        self.source.stop()
        self.cable.close()


@pytest.fixture
def framed(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, FakeFirmware(FAST))
    yield bench
    bench.close()


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, None)
    yield bench
    bench.close()


def say_blocks(bench: Bench, count: int, size: int = 10) -> None:
    firmware = bench.firmware
    assert firmware is not None
    for _ in range(count):
        bench.cable.say(lambda: firmware.block(size))


def test_frames_become_blocks_once_the_firmware_was_asked_who_it_is(framed: Bench) -> None:
    framed.open()
    say_blocks(framed, 1)  # opens in the middle of the stream: nobody knows what these samples mean
    until(lambda: framed.line.state().hello, "it is asked and answers", framed.line.state)
    say_blocks(framed, 5)
    until(lambda: len(framed.payloads) == 5, "all blocks are there", framed.line.state)
    state = framed.line.state()
    assert (state.framing, state.readings) == ("framed", 50)
    assert state.hello == FAST
    assert framed.count("no-hello") >= 1
    readings = Bridge(replace_rate(1000.0)).decode(list(framed.payloads), [b""] * 5)
    assert len(readings) == 50
    assert readings.times is not None
    assert (np.diff(readings.times) > 0).all()
    assert abs(int(readings.times[-1]) - SystemClock().wall()) < 60 * 1_000_000_000


def replace_rate(rate_hz: float) -> schema.Any:
    return type(XYZ)(kind="window", channels=["x", "y", "z"], samples=4, hop=4, rate_hz=rate_hz)


def test_lines_are_handed_on_as_they_come_without_the_first_half_one(lines: Bench) -> None:
    lines.open()
    lines.cable.say(b"3,9.8\n1,2,3\n4,5,6\n7,8,9\n")
    until(lambda: lines.line.state().framing == "lines", "they are known for lines", lines.line.state)
    lines.cable.say(b"10,11,12\r\n13,14")
    until(lambda: lines.payloads[-1:] == [b"10,11,12"], "a whole line is handed on")
    assert b"3,9.8" not in lines.payloads
    assert lines.count("partial") == 1


def test_nothing_is_sent_to_a_sketch_that_prints_lines(lines: Bench) -> None:
    lines.open()
    for i in range(10):
        lines.cable.say(f"{i},2,3\n".encode())
    until(lambda: lines.payloads, "lines come")
    lines.line.send(Result("running", 0.5, True))
    lines.cable.say(b"1,2,3\n")
    until(lambda: lines.payloads[-1] == b"1,2,3", "and go on")
    assert lines.cable.heard == b""


def test_a_boot_log_before_the_first_frame_is_passed_over(framed: Bench) -> None:
    framed.open()
    framed.cable.say(b"ets Jun  8 2016 00:22:57\r\nrst:0x1 (POWERON_RESET)\r\nload:0x3fff0018,len:4\r\n")
    until(lambda: framed.line.state().framing == "lines", "it looks like lines", framed.line.state)
    assert framed.firmware is not None
    framed.cable.say(framed.firmware.start)
    say_blocks(framed, 3)
    until(lambda: sum(payload.startswith(MAGIC) for payload in framed.payloads) == 3, "frames are known at once", framed.line.state)


def test_a_firmware_that_is_flashed_with_a_sketch_is_told_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FakeFirmware(FAST))
    try:
        bench.open()
        say_blocks(bench, 2)
        until(lambda: bench.line.state().framing == "framed", "frames at first", bench.line.state)
        bench.cable.unplug()
        until(lambda: bench.line.state().state == "failing", "it is pulled out", bench.line.state)
        bench.firmware = bench.cable.firmware = None
        bench.cable.plug()
        until(lambda: bench.line.state().state == "open", "it is back", bench.line.state)
        for i in range(5):
            bench.cable.say(f"{i},0,0\n".encode())
        until(lambda: bench.payloads[-1:] == [b"4,0,0"], "lines are read", bench.line.state)
        assert bench.line.state().framing == "lines"
    finally:
        bench.close()


def test_unplugging_is_counted_and_plugging_in_again_goes_on(framed: Bench) -> None:
    framed.open()
    say_blocks(framed, 2)
    until(lambda: framed.line.state().hello, "it speaks", framed.line.state)
    framed.cable.unplug()
    failing = until(lambda: framed.line.state() if framed.line.state().state == "failing" else None, "it is seen")
    assert failing.error is not None
    assert failing.error.code in ("serial-port-lost", "serial-port-missing")
    assert failing.unplugged == 1
    assert framed.firmware is not None
    framed.firmware.start(0x77)
    framed.cable.plug()
    until(lambda: framed.line.state().state == "open", "it is opened again", framed.line.state)
    before = len(framed.payloads)
    say_blocks(framed, 1)
    until(lambda: framed.firmware and framed.firmware.pings > 1, "it is asked again", framed.line.state)
    say_blocks(framed, 4)
    until(lambda: len(framed.payloads) >= before + 4, "readings come again", framed.line.state)
    assert framed.line.state().error is None


def test_a_port_that_is_not_there_yet_is_opened_when_it_comes(framed: Bench) -> None:
    framed.cable.unplug()
    framed.start()
    until(lambda: framed.line.state().state == "failing", "it is missed")
    error = framed.line.state().error
    assert error is not None
    assert error.code == "serial-port-missing"
    framed.cable.plug()
    until(lambda: framed.line.state().state == "open", "it is opened", framed.line.state)
    assert framed.line.state().unplugged == 0


def test_a_result_goes_down_and_is_acknowledged(framed: Bench) -> None:
    framed.open()
    say_blocks(framed, 2)
    until(lambda: framed.line.state().hello, "it is known", framed.line.state)
    framed.line.send(Result("running", 0.75, True))
    firmware = framed.firmware
    assert firmware is not None
    until(lambda: firmware.results, "it is told", framed.line.state)
    assert firmware.results == [Result("running", 0.75, True)]


def test_a_firmware_that_never_acknowledges_holds_up_nothing(tmp_path: Path) -> None:
    firmware = FakeFirmware(FAST, acknowledges=False)
    bench = Bench(tmp_path, firmware)
    try:
        bench.open()
        say_blocks(bench, 2)
        until(lambda: bench.line.state().hello, "it is known", bench.line.state)
        for i in range(20):
            bench.line.send(Result(f"label-{i}", None, False))
            say_blocks(bench, 5)
            until(lambda i=i: bench.line.state().readings >= 50 * (i + 1), "readings go on", bench.line.state)
        assert bench.count("result-replaced") > 0
        assert 0 < len(firmware.results) < 20
    finally:
        bench.close()


def test_lost_frames_show_as_a_hole_in_time_and_are_counted(framed: Bench) -> None:
    framed.open()
    firmware = framed.firmware
    assert firmware is not None
    framed.cable.say(firmware.start)
    say_blocks(framed, 3)
    firmware.lose(2)
    firmware.tick += 20_000  # 20 readings
    say_blocks(framed, 3)
    until(lambda: len(framed.payloads) == 6, "what came is there", framed.line.state)
    assert framed.count("lost-frames") >= 2
    heads = [read_head(payload) for payload in framed.payloads]
    steps = [after[2] - before[3] for before, after in pairwise(heads) if before and after]
    assert 15e6 < steps[2] < 25e6
    assert all(step < 1.5e6 for i, step in enumerate(steps) if i != 2)


def test_texts_go_to_a_pipeline_that_takes_texts_and_samples_do_not(tmp_path: Path) -> None:
    firmware = FakeFirmware(FAST)
    bench = Bench(tmp_path, firmware, texts=True)
    try:
        bench.open()
        bench.cable.say(firmware.start)
        bench.cable.say(lambda: firmware.text("bearing loud"))
        say_blocks(bench, 2)
        bench.cable.say(lambda: firmware.event(Event(7, -5, "overrun")))
        bench.cable.say(lambda: firmware.text("pump off"))
        until(lambda: len(bench.payloads) == 2, "texts come", bench.line.state)
        assert bench.payloads == [b"bearing loud", b"pump off"]
        assert bench.line.state().last_event == "7 -5 overrun"
    finally:
        bench.close()


def test_two_pipelines_read_one_port(framed: Bench) -> None:
    other: list[Batch] = []
    second = SerialSource(framed.line, texts=False)
    framed.line.add(second)
    second.start(lambda batch: other.append(batch))
    framed.open()
    assert framed.firmware is not None
    framed.cable.say(framed.firmware.start)
    say_blocks(framed, 3)
    until(lambda: len(framed.payloads) == 3, "the first has them")
    assert [payload for batch in other for payload in batch.payloads] == framed.payloads
    second.stop()
    say_blocks(framed, 1)
    until(lambda: len(framed.payloads) == 4, "it goes on when the other stops")


def test_a_line_at_another_baud_rate_is_said_to_be_garbled(tmp_path: Path) -> None:
    bench = Bench(tmp_path, None)
    try:
        bench.open()
        noise = np.random.default_rng(5)

        def garbled() -> bool:
            bench.cable.say(noise.integers(128, 256, 64, np.uint8).tobytes())
            return bench.line.state().garbled

        until(garbled, "it is seen", bench.line.state)
        assert bench.payloads == []
    finally:
        bench.close()


def test_a_new_firmware_with_other_channels_is_read_by_its_own_hello(framed: Bench) -> None:
    framed.open()
    firmware = framed.firmware
    assert firmware is not None
    framed.cable.say(firmware.start)
    say_blocks(framed, 2)
    until(lambda: len(framed.payloads) == 2, "the first firmware")
    firmware.hello = replace(FAST, kind="float32", channels=(*FAST.channels, Channel("t", "C", 1.0)))
    framed.cable.say(lambda: firmware.start(0x99))
    say_blocks(framed, 2)
    until(lambda: len(framed.payloads) == 4, "the second one", framed.line.state)
    readings = Bridge(replace_rate(1000.0)).decode(list(framed.payloads), [b""] * 4)
    assert readings.rejected == []
    assert len(readings) == 40
    assert framed.count("restarts") == 1
