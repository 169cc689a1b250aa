"""The frames of golden.txt: Python makes exactly these bytes, and reads from them what they are said to hold."""

from __future__ import annotations

import struct

import pytest

from firmware_bridge import frames
from firmware_bridge.frames import Frame, FrameReader
from firmware_bridge.messages import Ack, Channel, Event, Hello, Ping, Result, TimeAnswer, TimeQuestion, split_samples
from tests.conftest import REPO

S = 0x1234
SCALE = struct.unpack("<f", struct.pack("<f", 0.122))[0]
HELLO = Hello("vibro", "1.2", "int16", 1_000_000, 26.0, 2, tuple(Channel(name, "mg", SCALE) for name in "xyz"))
LINES = [line.split() for line in (REPO / "firmware_bridge" / "golden.txt").read_text("utf-8").splitlines() if line and line[0] != "#"]
GOLDEN = {name: bytes.fromhex(line) for name, line in LINES}

SAMPLES = {
    "samples": (1_000_000, [1, -2, 1000, 0, 0, 0, -32768, 32767, 256]),
    "samples-long": (0xFFFFFFFF, [0x0101] * 300),
    "samples-most": (5, list(range(504))),
}

MESSAGES: dict[str, Hello | Event | TimeQuestion | TimeAnswer | Result | Ack | Ping] = {
    "hello": HELLO,
    "event": Event(7, -5, "overrun"),
    "time-answer": TimeAnswer(0x0102030405060708, 4294967290, 5),
    "ack": Ack(0x00FF),
    "ping": Ping(want_hello=False),
    "ping-hello": Ping(want_hello=True),
    "time-question": TimeQuestion(0x0102030405060708),
    "result": Result("running", 0.75, alarm=True),
    "result-plain": Result("", None, alarm=False),
    "ack-down": Ack(6),
    "result-long": Result("äöü", -1.5, alarm=False),
}
BODIES = {name: message.encode() for name, message in MESSAGES.items()}
BODIES |= {name: struct.pack(f"<I{len(values)}h", tick, *values) for name, (tick, values) in SAMPLES.items()}
BODIES["text"] = b"started"

HEADS = {
    "hello": (frames.HELLO, S, 0),
    "samples": (frames.SAMPLES, S, 1),
    "text": (frames.TEXT, S, 2),
    "event": (frames.EVENT, S, 3),
    "time-answer": (frames.TIME, S, 4),
    "ack": (frames.ACK, S, 5),
    "ping": (frames.PING, S, 6),
    "samples-long": (frames.SAMPLES, S, 7),
    "samples-most": (frames.SAMPLES, S, 8),
    "ping-hello": (frames.PING, 0, 0),
    "time-question": (frames.TIME, S, 1),
    "result": (frames.RESULT, S, 2),
    "result-plain": (frames.RESULT, S, 3),
    "ack-down": (frames.ACK, S, 4),
    "result-long": (frames.RESULT, S, 5),
}


def test_each_frame_has_its_place_and_its_name() -> None:
    assert [name for name, _ in LINES] == list(HEADS)


@pytest.mark.parametrize("name", HEADS)
def test_the_bytes_are_made_exactly(name: str) -> None:
    assert frames.encode(*HEADS[name], BODIES[name]) == GOLDEN[name]


@pytest.mark.parametrize("name", HEADS)
def test_the_bytes_are_read_exactly(name: str) -> None:
    assert FrameReader().feed(GOLDEN[name]) == [Frame(*HEADS[name], BODIES[name])]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_read_as_it_was_meant(name: str) -> None:
    (frame,) = FrameReader().feed(GOLDEN[name])
    assert type(MESSAGES[name]).decode(frame.body) == MESSAGES[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_read_as_they_were_taken(name: str) -> None:
    (frame,) = FrameReader().feed(GOLDEN[name])
    tick, values = SAMPLES[name]
    samples = split_samples(frame.body, HELLO)
    assert (samples.tick, samples.count) == (tick, len(values) // 3)
    assert list(struct.unpack(f"<{len(values)}h", samples.data)) == values


def test_all_of_them_in_one_piece_are_read_in_order() -> None:
    reader = FrameReader()
    assert [(frame.type, frame.session, frame.sequence) for frame in reader.feed(b"".join(GOLDEN.values()))] == list(HEADS.values())
    assert not any(reader.faults.values())
