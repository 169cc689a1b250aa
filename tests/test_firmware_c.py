"""The firmware library in C: golden frames, its size, any use of it under sanitizers, and what the board's side reads of it."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firmware_bridge import frames
from firmware_bridge.cobs import stuff
from firmware_bridge.link import BoardLink, HelloCame, SamplesCame, TextCame
from firmware_bridge.messages import Ack, Channel, Event, Hello, Ping, Result, TimeAnswer, TimeQuestion, split_samples
from tests.c_firmware import FIRMWARE, Driver, Firmware, make, need
from tests.conftest import REPO

GOLDEN = [line.split() for line in (REPO / "firmware_bridge" / "golden.txt").read_text().splitlines() if line and line[0] != "#"]
UP = {"hello", "samples", "text", "event", "time-answer", "ack", "ping", "samples-long", "samples-most"}
NS = 1_000_000_000
TICK_NS = 1000
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def driver(build: Path) -> Driver:
    make("shared", build)
    return Driver.load(build / "driven.so")


@pytest.fixture
def firmware(driver: Driver) -> Iterator[Firmware]:
    it = driver.begin()
    assert it
    yield it
    it.end()


# ---- What is built ----


def test_the_library_is_small_on_every_cortex_m(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    sizes = [line.split() for line in make("size", tmp_path).splitlines()[1:]]
    assert len(sizes) == 3
    assert [(name, text) for text, *_, name in sizes if int(text) >= 2048] == []
    assert {(data, bss) for _, data, bss, *_ in sizes} == {("0", "0")}, "it has no globals"


def test_size_fails_where_the_library_is_too_large(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    with pytest.raises(AssertionError, match="text is to be under 1000 bytes"):
        make("size", tmp_path, MOST_TEXT=1000)


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os"])
def test_no_compiler_warns_at_any_level(build: Path, level: str) -> None:
    compile_library("gcc", "-std=c99", level, "-c", "-o", str(build / "any.o"))


def test_it_compiles_as_cpp(build: Path) -> None:
    need("g++")
    compile_library("g++", "-x", "c++", "-std=c++11", "-O2", "-c", "-o", str(build / "cpp.o"))


def test_it_needs_no_c_library(build: Path) -> None:
    compile_library("gcc", "-std=c99", "-Os", "-ffreestanding", "-fno-pic", "-c", "-o", str(build / "alone.o"))
    done = subprocess.run(["nm", "-u", str(build / "alone.o")], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def compile_library(*command: str) -> None:
    done = subprocess.run([*command, *WARNINGS, str(FIRMWARE / "edged_bridge.c")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- Golden frames ----


def test_it_sends_the_golden_frames_byte_by_byte(build: Path) -> None:
    printed = [line.split() for line in make("golden", build).splitlines()]
    assert printed == [[name, line] for name, line in GOLDEN if name in UP]


def test_it_understands_the_golden_frames_of_a_board(build: Path) -> None:
    make("golden", build)
    down = {name: line for name, line in GOLDEN if name not in UP}
    done = subprocess.run([str(build / "golden"), *down.values()], capture_output=True, text=True, check=True)
    said = re.sub(r"received 1, answered (\d+) bytes\n", r"\1;", done.stdout)
    assert list(down) == ["ping-hello", "time-question", "result", "result-plain", "ack-down", "result-long"]
    hello, answer, ack = (len(bytes.fromhex(line)) for name, line in GOLDEN if name in ("hello", "time-answer", "ack"))
    results = ["alarm=1 score=0.75 label=running", "alarm=0 score= label=", "alarm=0 score=-1.5 label=äöü"]
    assert said == f"{hello};{answer};result {results[0]}\n{ack};result {results[1]}\n{ack};0;result {results[2]}\n{ack};"


# ---- Any use, any bytes ----


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_use_and_any_bytes_leave_memory_and_counts_right(build: Path, seed: int) -> None:
    assert make("fuzz", build, SEED=seed, ROUNDS=5000) == "5000 rounds\n"


# ---- What the board's side reads ----


@dataclass
class Model:
    """What should arrive, from what the functions return alone."""

    fits: int  # readings in a block
    pending: list[bytes] = field(default_factory=list)
    tick: int = 0
    sent: list[tuple[int, object]] = field(default_factory=list)  # by type

    def sample(self, tick: int, raw: bytes, kept: bool) -> None:
        self.pending.append(raw)
        self.tick = tick
        if len(self.pending) == self.fits:
            self.flush(kept)
        else:
            assert kept

    def flush(self, kept: bool) -> None:
        if kept and self.pending:
            self.sent.append((frames.SAMPLES, (self.tick, b"".join(self.pending))))
        self.pending = []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("sample"), st.binary(min_size=64, max_size=64) | st.just(bytes(64)) | st.just(b"\xff" * 64)),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("text"), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=500)),
        st.tuples(st.just("event"), st.tuples(st.integers(0, 65535), st.integers(-(2**31), 2**31 - 1), st.sampled_from(["", "Überlauf"]))),
        st.tuples(st.just("poll"), st.integers(0, 100) | st.just(2000)),
        st.tuples(st.just("ask"), st.sampled_from([Ping(True), Ping(False), TimeQuestion(2**64 - 1)])),
        st.tuples(st.just("garbage"), st.binary(max_size=40)),
        st.tuples(st.just("later"), st.integers(0, 50_000)),
    ),
    max_size=80,
)


@given(
    kind=st.sampled_from([1, 2, 3]),
    channels=st.integers(1, 16),
    ring=st.integers(0, 2500),
    block=st.integers(0, 1100),
    begin=st.sampled_from([0, 2**32 - 1000]),
    steps=steps,
)
@example(kind=1, channels=1, ring=63, block=2, begin=2**32 - 1000, steps=[("sample", bytes(64)), ("poll", 0)])
def test_the_board_reads_what_was_sent_and_sees_what_was_dropped(
    driver: Driver, kind: int, channels: int, ring: int, block: int, begin: int, steps: list[tuple[str, object]]
) -> None:
    """Whatever the sizes, however little the line takes: what a function said is sent arrives, and the rest is a gap."""
    firmware = driver.begin(kind=kind, channels=channels, ring=ring, block=block, now=begin)
    reading = struct.calcsize(f"{channels}{'hif'[kind - 1]}")
    fits = min(block, 1010) // reading
    if firmware is None:
        assert not fits or ring <= max(min(block, 1010) + 20, 14 + 7 + channels * 11 + 20)
        return
    try:
        model = Model(fits)
        line = b"".join(act(firmware, model, name, value) for name, value in steps)
        while more := firmware.poll():
            line += more
        model.flush(firmware.flush())
        line += firmware.poll()
        assert firmware.text(b"the end"), "there is room again"
        model.sent.append((frames.TEXT, b"the end"))
        line += firmware.poll()
        check(line, model, firmware)
    finally:
        firmware.end()


def act(firmware: Firmware, model: Model, name: str, value: object) -> bytes:
    """Do one step; give what came over the line."""
    match name, value:
        case "sample", bytes(raw):
            raw = raw[: firmware.reading.size]
            model.sample(firmware.now, raw, firmware.sample(raw))
        case "flush", _:
            model.flush(firmware.flush())
        case "text", str(text):
            if firmware.text(text.encode()):
                model.sent.append((frames.TEXT, text.encode()[:1014].decode("utf-8", "ignore").encode()))
        case "event", (int(code), int(number), str(words)):
            if firmware.event(code, number, words.encode()):
                model.sent.append((frames.EVENT, Event(code, number, words)))
        case "poll", int(takes):
            return firmware.poll(takes)
        case "ask", (Ping() | TimeQuestion()) as question:
            firmware.receive(frames.encode(frames.PING if isinstance(question, Ping) else frames.TIME, 0x1234, 7, question.encode()))
        case "garbage", bytes(data):
            firmware.receive(data + b"\0")
        case "later", int(ticks):
            firmware.at(firmware.now + ticks)
    return b""


def check(line: bytes, model: Model, firmware: Firmware) -> None:
    reader = frames.FrameReader()
    came = reader.feed(line)
    assert not any(reader.faults.values())
    assert line[0] == 0, "it begins with a zero, which ends what a boot loader said"
    assert came[0].type == frames.HELLO
    assert {frame.session for frame in came} == {0x1234}
    hello = Hello.decode(came[0].body)
    assert hello.channels == tuple(Channel(f"c{i}", "mg", 0.5) for i in range(len(hello.channels)))
    said: list[tuple[int, object]] = []
    for frame in came:
        if frame.type == frames.SAMPLES:
            samples = split_samples(frame.body, hello)
            assert len(samples.data) % hello.reading_bytes == 0
            said.append((frame.type, (samples.tick, bytes(samples.data))))
        elif frame.type == frames.TEXT:
            said.append((frame.type, frame.body))
        elif frame.type == frames.EVENT:
            said.append((frame.type, Event.decode(frame.body)))
        elif frame.type == frames.TIME:
            assert TimeAnswer.decode(frame.body).host_ns == 2**64 - 1
        elif frame.type == frames.ACK:
            assert Ack.decode(frame.body).sequence == 7
        else:
            assert frame.type == frames.HELLO
    assert said == model.sent
    numbers = [frame.sequence for frame in came]
    assert numbers == sorted(set(numbers)), "each number once, and in order"
    assert numbers[-1] + 1 == len(numbers) + firmware.dropped, "what is missing was dropped"


def test_board_and_firmware_understand_each_other(driver: Driver) -> None:
    """HELLO, readings with their times, the firmware's clock, results down, and a restart."""
    link = BoardLink()
    run = Run(driver, link)
    run.go(3 * NS)
    assert isinstance(run.came[0], HelloCame)
    assert run.came[0].hello.firmware == "driven"
    blocks = [each for each in run.came if isinstance(each, SamplesCame)]
    assert sum(each.count for each in blocks) == pytest.approx(300, abs=20)
    assert all(each.follows for each in blocks[1:])
    assert all(before.last_ns < after.first_ns for before, after in pairwise(blocks))
    taken = run.firmware.now * TICK_NS  # its clock began when the host's did
    assert abs(blocks[-1].last_ns - taken) < 0.3 * NS

    link.send(Result("running", 0.75, True), run.now)
    run.go(NS // 10)
    assert run.firmware.result() == (1, Result("running", 0.75, True))
    run.go(5 * NS)
    assert run.firmware.result()[0] == 1, "it was acknowledged, so it is not sent again"

    run.restart(session=77)
    run.go(2 * NS)
    again = [each for each in run.came if isinstance(each, HelloCame)]
    assert [(each.session, each.restarted) for each in again] == [(0x1234, False), (77, True)]
    assert {name: count for name, count in link.counts.items() if count and name != "restarts"} == {}


class Run:
    """A board and a compiled firmware on one line that is never full, in time of its own: 100 readings a second."""

    def __init__(self, driver: Driver, link: BoardLink) -> None:
        self._driver = driver
        self.link = link
        self.came: list[object] = []
        self.now = 0
        self.restart(session=0x1234)
        link.opened(self.now)

    def restart(self, session: int) -> None:
        firmware = self._driver.begin(session=session)
        assert firmware
        self.firmware = firmware
        self._began = self.now

    def go(self, span_ns: int) -> None:
        until = self.now + span_ns
        while self.now < until:
            self.now += NS // 100
            self.firmware.at((self.now - self._began) // TICK_NS)
            self.firmware.sample(self.firmware.reading.pack(1, 2, 3))
            self.link.wake(self.now)
            self.firmware.receive(self.link.take())
            self.came += self.link.receive(self.firmware.poll(), self.now)


# ---- When the line is silent, slow or gone ----


def types(line: bytes) -> list[int]:
    reader = frames.FrameReader()
    found = [frame.type for frame in reader.feed(line)]
    assert not any(reader.faults.values())
    return found


def test_a_board_that_is_not_heard_gets_a_hello_every_five_seconds(firmware: Firmware) -> None:
    assert types(firmware.poll()) == [frames.HELLO]
    for second in range(1, 11):
        firmware.at(second * 1_000_000)
        assert types(b"\0" + firmware.poll()) == ([frames.HELLO] if second % 5 == 0 else [])


def test_a_firmware_with_nothing_to_say_to_a_board_that_it_hears_says_ping(firmware: Firmware) -> None:
    firmware.poll()
    sent = []
    for second in range(1, 21):
        if second % 4 == 0:
            firmware.receive(frames.encode(frames.ACK, 0x1234, second, Ack(0).encode()))
        firmware.at(second * 1_000_000)
        sent += types(b"\0" + firmware.poll())
    assert sent == [frames.PING] * 3, "not in the first five seconds, in which there was a HELLO"


def test_what_waited_while_nobody_read_is_thrown_away_and_counted(firmware: Firmware) -> None:
    for second in range(60):
        firmware.at(second * 1_000_000)
        firmware.text(f"second {second}".encode())
        assert firmware.poll(takes=0) == b""
    came = frames.FrameReader().feed(b"\0" + firmware.poll())
    assert came[0].type == frames.HELLO
    texts = [int(frame.body.split()[1]) for frame in came if frame.type == frames.TEXT]
    assert texts == list(range(texts[0], 60)), "the newest"
    assert texts[0] >= 50
    assert came[-1].sequence + 1 == len(came) + firmware.dropped


def test_a_frame_cut_by_a_line_that_stopped_spoils_no_other(firmware: Firmware) -> None:
    firmware.text(b"x" * 100)
    first = firmware.poll(takes=120)
    for second in range(1, 12):
        firmware.at(second * 1_000_000)
        firmware.poll(takes=0)
    reader = frames.FrameReader()
    came = [frame.type for frame in reader.feed(first + firmware.poll())]
    assert came == [frames.HELLO, frames.HELLO]
    assert sum(reader.faults.values()) == 1


def test_a_hello_that_is_asked_for_comes_although_samples_fill_the_line(driver: Driver) -> None:
    """Samples must not take all the room before the HELLO finds some; what means nothing without it waits no longer."""
    firmware = driver.begin(ring=120, block=24)
    assert firmware
    firmware.poll()
    asked = frames.encode(frames.PING, 0, 0, Ping(True).encode())
    line, lost = b"\0", 0
    for step in range(400):
        lost += not firmware.sample(bytes(6))
        if step == 200:
            firmware.receive(asked)
        line += firmware.poll(takes=5)
    assert firmware.dropped == lost, "a HELLO that waits is not lost, however long"
    firmware.end()
    assert types(line)[1:].count(frames.HELLO) == 1


def test_the_time_is_answered_when_nothing_is_before_the_answer(firmware: Firmware) -> None:
    firmware.poll()
    firmware.at(1000)
    firmware.text(b"x" * 50)
    firmware.receive(frames.encode(frames.TIME, 0x1234, 0, TimeQuestion(42).encode()))
    line = b"\0" + firmware.poll(takes=30)
    firmware.at(3000)
    line += firmware.poll()
    text, answer = frames.FrameReader().feed(line)
    assert text.type == frames.TEXT
    assert TimeAnswer.decode(answer.body) == TimeAnswer(42, 1000, 3000)


def test_a_line_that_echoes_is_not_answered_for_ever(firmware: Firmware) -> None:
    firmware.receive(frames.encode(frames.TIME, 0x1234, 0, TimeQuestion(42).encode()) + frames.encode(frames.PING, 0x1234, 1, b"\0"))
    for _ in range(4):
        firmware.receive(firmware.poll())
    assert firmware.poll() == b""


@pytest.mark.parametrize("session", [0x1235, 1])
def test_what_is_meant_for_a_run_before_is_not_taken(firmware: Firmware, session: int) -> None:
    firmware.receive(frames.encode(frames.RESULT, session, 0, Result("running", 1.0, True).encode()))
    assert firmware.result()[0] == 0
    firmware.poll()
    firmware.receive(frames.encode(frames.PING, session, 1, Ping(True).encode()))
    assert types(b"\0" + firmware.poll()) == [frames.HELLO], "but who asks is told"


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (frames.RESULT, b""),
        (frames.RESULT, b"\1\0\0\0\0\0"),
        (frames.RESULT, b"\1\0\0\0\0\0\5abcd"),
        (frames.RESULT, b"\1\0\0\0\0\0\x21" + b"a" * 33),
        (frames.RESULT, b"\1\0\0\0\0\0\xff" + b"a" * 255),
        (frames.PING, b""),
        (frames.PING, b"\2"),
        (frames.TIME, b"1234567"),
        (frames.ACK, b"1"),
    ],
    ids=["empty", "no label", "label cut", "label too long", "label beyond all", "no wish", "unknown wish", "time cut", "ack cut"],
)
def test_a_body_that_does_not_fit_is_not_answered(firmware: Firmware, type_: int, body: bytes) -> None:
    firmware.poll()
    firmware.receive(frames.encode(type_, 0x1234, 0, body))
    assert (firmware.result()[0], firmware.counts, firmware.poll()) == (0, {"bad-body": 1}, b"")


RESULT = Result("running", 1.0, True).encode()


def packet(body: bytes, *, version: int = 1, type_: int = frames.RESULT) -> bytes:
    """Make a packet of any version, type and length, with its CRC-32."""
    head = struct.pack("<BBHH", version, type_, 0x1234, 0) + body
    return head + zlib.crc32(head).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        (stuff(packet(RESULT)), "received"),
        (stuff(packet(RESULT + b"\1" * 600)), "received"),  # a run of COBS without a zero after it
        (stuff(packet(RESULT + bytes(1014 - len(RESULT)))), "received"),
        (stuff(packet(RESULT + bytes(1015 - len(RESULT)))), "too-long"),
        (stuff(packet(RESULT + b"\1" * 5000)), "too-long"),
        (stuff(packet(RESULT))[:-1], "bad-stuffing"),
        (b"\xff" + b"\1" * 100, "bad-stuffing"),
        (stuff(b"123456789"), "too-short"),
        (b"\1", "too-short"),
        (stuff(packet(RESULT)[:-1] + b"\xaa"), "bad-crc"),
        (stuff(packet(RESULT, version=2)), "other-version"),
        (stuff(packet(RESULT, type_=9)), "unknown-type"),
        (stuff(packet(RESULT, type_=frames.HELLO)), "unknown-type"),
    ],
    ids=[
        *("a result", "one with more behind it", "the longest", "a byte too long", "much too long", "cut"),
        *("noise without a zero", "nine bytes", "one byte", "a wrong byte", "version 2", "type 9", "a type of the firmware"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_each_fault_is_counted_by_its_name_and_spoils_no_other(firmware: Firmware, line: bytes, counted: str, step: int) -> None:
    whole = stuff(packet(RESULT))
    data = b"\0" + whole + b"\0\0" + line + b"\0" + whole + b"\0"
    for at in range(0, len(data), step):
        firmware.receive(data[at : at + step])
    taken = 2 + (counted == "received")
    assert firmware.counts == {"received": taken} | ({counted: 1} if counted != "received" else {})
    assert firmware.result()[0] == taken


@pytest.mark.parametrize("length", range(1009, 1016))
def test_a_text_that_is_too_long_is_cut_where_a_character_ends(driver: Driver, length: int) -> None:
    firmware = driver.begin(ring=2500)
    assert firmware
    text = b"a" * length + "€uro".encode()
    assert firmware.text(text)
    assert firmware.event(1, 2, text)
    _, said, event = frames.FrameReader().feed(firmware.poll())
    firmware.end()
    assert said.body.decode() == text[:1014].decode("utf-8", "ignore")
    assert Event.decode(event.body).text == text[:1008].decode("utf-8", "ignore")


def test_a_firmware_has_a_session_even_if_it_is_given_none(driver: Driver) -> None:
    firmware = driver.begin(session=0)
    assert firmware
    (hello,) = frames.FrameReader().feed(firmware.poll())
    firmware.end()
    assert hello.session == 1


@pytest.mark.parametrize(
    ("kind", "channels", "ring", "block", "begins"),
    [
        (1, 3, 74, 54, False),
        (1, 3, 75, 54, True),  # 20 bytes around the readings, and one stays free
        (1, 3, 60, 6, False),  # no room for the HELLO
        (1, 3, 400, 5, False),
        (1, 3, 400, 6, True),
        (1, 0, 400, 60, False),
        (1, 17, 400, 60, False),
        (1, 16, 400, 60, True),
    ],
)
def test_a_setup_that_cannot_work_is_refused(driver: Driver, kind: int, channels: int, ring: int, block: int, begins: bool) -> None:
    functions = driver.functions
    handle = functions.driven_begin(kind, channels, ring, block, 1, 0)
    if handle:
        functions.driven_end(handle)
    assert bool(handle) == begins


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, True),
        *(({"kind": kind}, kind in (1, 2, 3)) for kind in (0, 1, 2, 3, 4, 255)),
        *(({"channels": channels}, channels in (1, 16)) for channels in (0, 1, 16, 17, 255)),
        *(({"window": window}, window in (0, 16)) for window in (0, 16, 17)),
        *(({"tick_hz": tick_hz}, tick_hz in (1, 100_000_000)) for tick_hz in (0, 1, 100_000_000, 100_000_001)),
        *(({"firmware": b"f" * length}, length in (1, 32)) for length in (0, 1, 32, 33)),
        *(({"version": b"v" * length}, length in (0, 16)) for length in (0, 16, 17)),
        *(({"name": b"n" * length}, length in (1, 32)) for length in (0, 1, 32, 33, 300)),
        *(({"unit": b"u" * length}, length in (0, 16)) for length in (0, 16, 17)),
    ],
)
def test_a_hello_out_of_bounds_is_refused(driver: Driver, changes: dict[str, int | bytes], begins: bool) -> None:
    sound = {"kind": 1, "channels": 16, "window": 1, "tick_hz": 1000, "firmware": b"f", "version": b"", "name": b"n", "unit": b""}
    assert driver.functions.driven_fault(*(sound | changes).values()) == (0 if begins else 1)


# ---- The sketch ----


def test_the_arduino_sketch_sends_readings_and_shows_the_alarm(build: Path) -> None:
    need("g++")
    line, led = make("arduino", build).splitlines()
    link = BoardLink()
    came = link.receive(bytes.fromhex(line), 0)
    assert isinstance(came[0], HelloCame)
    assert [channel.name for channel in came[0].hello.channels] == ["a0", "a1", "a2"]
    blocks = [each for each in came if isinstance(each, SamplesCame)]
    assert len(blocks) == pytest.approx(21, abs=1)
    assert blocks[0].data == struct.pack("<15h", *[0, 100, 200] * 5)
    assert not [each for each in came if isinstance(each, TextCame)]
    counts = {name for name, count in link.counts.items() if count}
    assert counts <= {"wrong-tick"}  # all of it is taken in at one moment
    assert led == "LED 0 1"


def test_the_recordings_become_an_array(tmp_path: Path) -> None:
    script = FIRMWARE / "example_mps2" / "recorded.py"
    done = subprocess.run([sys.executable, str(script), str(REPO / "edged/demo/recordings")], capture_output=True, text=True, check=True)
    assert "BSD-3-Clause" in done.stdout
    assert len(re.findall(r"^    \{-?\d", done.stdout, re.MULTILINE)) == (15 + 20) * 26
