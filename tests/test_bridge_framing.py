"""Frames or lines, told by what comes; and wrong baud rates, by bits on a simulated wire."""

from __future__ import annotations

import json
import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import frames
from firmware_bridge.frames import FrameReader
from firmware_bridge.framing import Guess
from firmware_bridge.messages import Channel, Hello
from tests.garbling import misread

MS = 1_000_000
S = 1000 * MS

RATES = (9600, 57600, 74880, 115200, 230400, 921600)
_DICE = random.Random(8)


def _csv() -> bytes:
    return b"%.2f,%.2f,%.2f\r\n" % (_DICE.gauss(0, 1), _DICE.gauss(0, 1), _DICE.gauss(9.8, 1))


def _json() -> bytes:
    return json.dumps({"temp": round(_DICE.gauss(20, 1), 2), "rpm": _DICE.randint(0, 3000)}).encode() + b"\n"


SAID = {
    "csv": b"".join(_csv() for _ in range(60)),
    "one number": b"".join(b"%d\n" % _DICE.randint(0, 1023) for _ in range(300)),
    "json": b"".join(_json() for _ in range(60)),
    "boot log": b"".join(b"I (%d) wifi: state: init -> auth (b0)\r\n" % time for time in range(200, 4200, 100)),
}

_HELLO = Hello("vibro", "1.2", "int16", 1_000_000, 26.0, 2, tuple(Channel(name, "mg", 0.122) for name in "xyz"))
FRAMES = frames.encode(frames.HELLO, 7, 0, _HELLO.encode()) + b"".join(
    frames.encode(frames.SAMPLES, 7, number, _DICE.randbytes(4 + 6 * 8)) for number in range(1, 50)
)
BOOT_LOG = b"ESP-ROM:esp32c3-api1-20210207\r\nBuild:Feb  7 2021\r\nrst:0x1 (POWERON),boot:0xc\r\nentry 0x403cc710\r\n"


class Ear:
    """A guess and the frames it is told of, with bytes that come in pieces."""

    def __init__(self) -> None:
        self.guess = Guess()
        self.now = 5 * S
        self.answers = [""]
        self.garbled = False
        self._reader = FrameReader()
        self._frames = 0

    def hear(self, data: bytes, piece: int = 64, every_ns: int = 20 * MS) -> str:
        """Let bytes come in pieces, one each `every_ns`; give the last answer."""
        for begin in range(0, len(data), piece):
            self.now += every_ns
            part = data[begin : begin + piece]
            self._frames += len(self._reader.feed(part))
            self.answers.append(self.guess.feed(part, self._frames, self.now))
            self.garbled = self.garbled or self.guess.garbled(self.now)
        return self.answers[-1]


def test_nothing_is_known_of_silence() -> None:
    ear = Ear()
    assert ear.guess.feed(b"", 0, ear.now) == ""
    assert not ear.guess.garbled(ear.now + 100 * S)


def test_one_frame_is_proof() -> None:
    assert Ear().hear(frames.encode(frames.HELLO, 1, 0, _HELLO.encode())) == "framed"


@pytest.mark.parametrize("half", [0, 1, 20, 50])
def test_frames_are_told_from_the_middle_of_one_on(half: int) -> None:
    ear = Ear()
    assert ear.hear(FRAMES[half:]) == "framed"
    assert "lines" not in ear.answers
    assert not ear.garbled


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("half", [0, 1, 7])
def test_lines_are_told_from_the_middle_of_one_on(said: str, half: int) -> None:
    ear = Ear()
    assert ear.hear(SAID[said][half:]) == "lines"
    assert not ear.garbled


def test_two_whole_lines_are_lines_and_one_is_not_yet() -> None:
    ear = Ear()
    assert ear.hear(b"ready\r\n1,2,3\r\n") == ""
    assert ear.hear(b"4,5,6\r\n") == "lines"


def test_a_boot_log_in_text_does_not_hide_the_frames_after_it() -> None:
    ear = Ear()
    assert ear.hear(BOOT_LOG) == "lines"
    assert ear.hear(b"\0" + FRAMES) == "framed"


def test_text_between_frames_does_not_change_the_answer() -> None:
    ear = Ear()
    for frame in FRAMES.split(b"\0")[:-1]:
        ear.hear(frame + b"\0")
        assert ear.hear(b"debug: loop 1\r\ndebug: loop 2\r\ndebug: loop 3\r\n") == "framed"
    assert not ear.garbled


def test_lines_after_noise_are_lines_once_they_outnumber_it() -> None:
    ear = Ear()
    assert ear.hear(b"half\n" + b"\xfe\x80\x03\n" * 3 + b"1,2,3\n" * 3) == ""
    assert ear.hear(b"1,2,3\n") == "lines"


def test_noise_among_lines_changes_nothing() -> None:
    ear = Ear()
    ear.hear(SAID["csv"])
    assert ear.hear(b"\xfe\x80\x03\n") == "lines"
    for _ in range(20):
        assert ear.hear(b"\xfe\x80\n" + SAID["csv"][:200], every_ns=S) == "lines"
    assert not ear.garbled


def test_short_lines_count_when_they_are_numbers() -> None:
    assert Ear().hear(b"\n0\n0\n0\n0\n") == "lines"
    assert Ear().hear(b"\n" + b"K\n" * 100) == ""


def test_lines_every_ten_seconds_are_not_garbled() -> None:
    ear = Ear()
    for line in [b".5,6\r\n", *[b"21.5,21.6\r\n"] * 5]:
        ear.hear(line, piece=4, every_ns=2 * MS)
        ear.now += 10 * S
    assert ear.answers[-1] == "lines"
    assert not ear.garbled


def test_frames_every_ten_seconds_are_not_garbled() -> None:
    ear = Ear()
    for frame in FRAMES[20:].split(b"\0")[:6]:
        ear.hear(frame + b"\0", piece=16, every_ns=5 * MS)
        ear.now += 10 * S
    assert ear.answers[-1] == "framed"
    assert not ear.garbled


def test_bytes_without_end_are_garbled_after_two_seconds_and_not_before() -> None:
    ear = Ear()
    ear.hear(b"\xe0" * 100, piece=1)
    assert not ear.guess.garbled(ear.now)
    ear.hear(b"\xe0" * 10, piece=1)
    assert ear.guess.garbled(ear.now)
    assert ear.guess.garbled(ear.now + 60 * S)


def test_a_frame_ends_garbled() -> None:
    ear = Ear()
    ear.hear(b"\xe0" * 200, piece=1)
    assert ear.guess.garbled(ear.now)
    ear.hear(b"\0" + FRAMES)
    assert not ear.guess.garbled(ear.now)


def test_a_framed_firmware_whose_rate_changes_is_garbled() -> None:
    ear = Ear()
    ear.hear(FRAMES)
    assert not ear.guess.garbled(ear.now)
    assert ear.hear(misread(FRAMES * 3, 115200, 9600), piece=2) == "framed"
    assert ear.guess.garbled(ear.now)


def _overheard(data: bytes, sent: int, read: int, idle_bits: int, at_once: bool) -> Ear:
    """Give who heard it, over and over, at a wrong rate, for five seconds."""
    got = misread(data, sent, read, idle_bits, at_once)
    ear = Ear()
    if got:
        got *= 1 + 500 // len(got)
        ear.hear(got, piece=len(got) // 250)
    return ear


@pytest.mark.parametrize(("sent", "read"), list(permutations(RATES, 2)))
@pytest.mark.parametrize("said", [*SAID, "frames"])
def test_at_a_wrong_baud_rate_nothing_is_taken_for_frames_or_lines(said: str, sent: int, read: int) -> None:
    for idle_bits, at_once in ((0, False), (0, True), (3, False)):
        ear = _overheard(SAID.get(said, FRAMES), sent, read, idle_bits, at_once)
        assert set(ear.answers) == {""}
        # Bits of a rate far above the reader's are too short to be heard at all.
        assert ear.guess.garbled(ear.now) or sent > 20 * read


def test_the_wire_itself_changes_nothing() -> None:
    for idle_bits, at_once in ((0, False), (0, True), (3, False)):
        assert misread(bytes(range(256)) + FRAMES, 115200, 115200, idle_bits, at_once) == bytes(range(256)) + FRAMES
        assert misread(SAID["csv"], 115200, 113000, idle_bits, at_once) == SAID["csv"]


@given(st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 3), st.integers(0, 3 * S)), max_size=30))
def test_whatever_comes_the_answer_is_one_of_three_and_framed_stays(heard: list[tuple[bytes, int, int]]) -> None:
    guess, now, count, answers = Guess(), 1, 0, [""]
    for data, more, passed in heard:
        now += passed
        count += more if data else 0
        answers.append(guess.feed(data, count, now))
        guess.garbled(now)
    assert set(answers) <= {"", "framed", "lines"}
    if "framed" in answers:
        assert set(answers[answers.index("framed") :]) == {"framed"}
