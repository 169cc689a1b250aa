"""Attacks on the daemon's end of a serial line that a hostile reader found: none may cost another pipeline, or go uncounted."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from edged.clock import NS, VirtualClock
from edged.config import schema
from edged.errors import OperatorError
from edged.models.manifest import load_release
from edged.records import Batch
from edged.stream.blocks import read_head
from edged.stream.channels import match_hello
from edged.stream.decoders.bridge import Bridge
from edged.stream.sources.serial import SerialSource
from edged.stream.sources.serial_end import SerialEnd
from edged.stream.sources.serial_line import SerialLine
from firmware_bridge.messages import Result
from tests.conftest import REPO
from tests.firmwares import VIBRO, FakeFirmware
from tests.test_serial_decoder import XYZ, block
from tests.waiting import until

START = 1_700_000_000 * NS


class Port:
    """A port without a device: gives what a test says, takes as many bytes as it allows."""

    def __init__(self) -> None:
        self.takes = 1 << 20
        self.coming: list[bytes] = []
        self.written = b""
        self.broken: Exception | None = None

    def read(self, timeout_s: float) -> bytes:
        if self.broken:
            raise self.broken
        threading.Event().wait(0.001)
        return self.coming.pop(0) if self.coming else b""

    def write(self, data: bytes) -> int:
        self.written += data[: self.takes]
        return min(len(data), self.takes)

    def wake(self) -> None:
        """Nobody waits in `read`."""

    def close(self) -> None:
        """There is nothing to close."""


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def line(port: Port) -> Iterator[SerialLine]:
    made = SerialLine(schema.SerialSource(port="/dev/none", framing="framed"), VirtualClock(START), lambda *_: port)
    yield made
    made.leave(SerialSource(made, texts=False))


def source_of(line: SerialLine, deliver: Callable[[Batch], bool] | None = None) -> SerialSource:
    source = SerialSource(line, texts=False)
    line.add(source)
    source.start(deliver or (lambda batch: True))
    return source


class StoppedMeanwhile(SerialSource):
    """A source that another thread stops just after the line has looked whether it may deliver."""

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if name == "_deliver" and value is not None:
            super().__setattr__("_deliver", None)
        return value


def test_a_pipeline_that_stops_while_a_batch_comes_does_not_stop_the_line(line: SerialLine) -> None:
    source = StoppedMeanwhile(line, texts=False)
    source._deliver = lambda batch: True
    source.put(Batch([b"/dev/none"], [b"1,2,3"], START, 0))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_line_that_a_bug_has_ended_says_so_and_lets_another_pipeline_begin(line: SerialLine, port: Port) -> None:
    port.broken = ZeroDivisionError()
    source_of(line)
    until(lambda: line.state().error, "the bug is told", line.state)
    until(lambda: not line._thread.is_alive(), "the thread has ended")
    source_of(line)
    assert line.state().state == "failing"


def test_results_that_a_newer_one_replaced_before_the_line_took_them_are_counted(line: SerialLine, port: Port) -> None:
    for number in range(5):
        line.send(Result(str(number), None, False))
    state = line.state()
    assert state.counts["result-replaced"] == 4
    assert state.results_sent == 0  # nobody has opened the port yet


def test_only_results_that_go_down_are_called_sent(line: SerialLine, port: Port) -> None:
    firmware = FakeFirmware()
    firmware.acknowledges = False
    source_of(line)
    port.coming.append(b"\0" + firmware.say_hello())
    until(lambda: line.state().hello, "the firmware is known", line.state)
    for number in range(10):
        line.send(Result(str(number), None, False))
        until(lambda: line._result is None, "the line has taken it")
    state = line.state()
    assert state.results_sent == firmware.hello.window
    assert state.results_sent + state.counts["result-replaced"] == 9  # one waits


def test_two_senders_are_told_although_the_port_takes_no_byte(line: SerialLine, port: Port) -> None:
    port.takes = 0
    first, second = FakeFirmware(session=1), FakeFirmware(session=2)
    source_of(line)
    port.coming.append(b"\0" + first.say_hello() + second.say_hello())
    port.coming.extend(each.block() for _ in range(5) for each in (first, second))
    until(lambda: line.state().two_senders, "both are noticed", line.state)


def fed(end: SerialEnd, data: bytes, at_s: float) -> list[bytes]:
    return end.take_in(data, int(at_s * NS)).lines


def test_a_sketch_that_prints_a_line_in_ten_seconds_loses_none_for_coming_in_pieces() -> None:
    end = SerialEnd("auto", VirtualClock(START))
    end.opened(0)
    fed(end, b"half\n21.5,40\n21.5,41\n21.6,41\n", 0.1)
    assert end.framing == "lines"
    for number in range(1, 10):
        assert fed(end, b"2", number * 10) == []
        assert fed(end, b"1.5,40\n", number * 10 + 0.01) == [b"21.5,40"]
    assert end.framing == "lines"


def test_a_sketch_in_the_place_of_a_firmware_is_noticed_and_its_first_half_line_dropped() -> None:
    end = SerialEnd("auto", VirtualClock(START))
    end.opened(0)
    firmware = FakeFirmware()
    end.take_in(b"\0" + firmware.say_hello() + firmware.block(), NS)
    assert end.framing == "framed"
    given = [line for tenth in range(100) for line in fed(end, b"5,6\n1,2,3\n4,", 2 + tenth / 10)]
    assert end.framing == "lines"
    assert set(given) == {b"4,5,6", b"1,2,3"}


def rows(decoder: Bridge, *lines: bytes) -> list[list[float]]:
    return decoder.decode(list(lines), [b""] * len(lines)).values.tolist()


def test_a_debug_print_that_looks_like_a_header_costs_no_reading() -> None:
    decoder = Bridge(XYZ)
    assert rows(decoder, b"1,2,3", b"y, init", b"4,5,6") == [[1, 2, 3], [4, 5, 6]]
    assert rows(decoder, b"z,y,x", b"1,2,3", b"x,stuck", b"7,8,9") == [[3, 2, 1], [9, 8, 7]]
    assert rows(Bridge(XYZ, decoder), b"4,5,6") == [[6, 5, 4]]


def test_a_wall_clock_that_could_not_be_looked_at_in_time_is_not_taken_for_1970() -> None:
    class Slow(VirtualClock):
        def wall(self) -> int:
            self.advance(NS // 100)
            return super().wall()

    end = SerialEnd("framed", Slow(START))
    firmware = FakeFirmware()
    (block,) = end.take_in(b"\0" + firmware.say_hello() + firmware.block(), 1).blocks
    head = read_head(block)
    assert head
    assert abs(head[3] - START) < 60 * NS


def test_a_firmware_cannot_steer_a_terminal_or_a_log_by_its_names() -> None:
    channels = tuple(replace(channel, name=f"{channel.name}\x9b31m\n") for channel in VIBRO.channels[:2])
    hello = replace(VIBRO, firmware="\x1b]0;x\x07", version="\u202e", channels=channels)
    manifest = load_release(REPO / "edged" / "demo" / "har").manifest
    with pytest.raises(OperatorError) as caught:
        match_hello("har", hello, manifest)
    assert caught.value.code == "channels-do-not-match"
    assert caught.value.text.isprintable()


def test_a_firmware_that_is_refused_for_hours_takes_no_memory() -> None:
    """One exception raised again and again would keep each frame it went through, and the block in it."""
    decoder = Bridge(XYZ)
    payload = block([[2, 4]], "x", "y")
    decoder.decode([payload], [b"t"])
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(500):
        decoder.decode([payload], [b"t"])
    gc.collect()
    assert len(gc.get_objects()) - before < 100
