"""Frames on a line that cuts, loses, turns and adds bytes: whole frames come out, whatever happens, and nothing else."""

from __future__ import annotations

import random
import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import frames
from firmware_bridge.cobs import stuff
from firmware_bridge.frames import Frame, FrameReader, encode

words = st.integers(0, 2**16 - 1)
bodies = st.one_of(st.binary(max_size=40), st.integers(0, frames.MAX_BODY).map(lambda size: b"\x01" * size))
made = st.builds(Frame, st.integers(0, 255), words, words, bodies)


def line_of(frame: Frame) -> bytes:
    return encode(frame.type, frame.session, frame.sequence, frame.body)


def line_with(packet: bytes) -> bytes:
    """Give a line whose packet is whole but for what the test wants wrong."""
    return stuff(packet + zlib.crc32(packet).to_bytes(4, "little")) + b"\0"


def started() -> FrameReader:
    """Give a reader that has seen the first zero, so that all that is wrong is a fault."""
    reader = FrameReader()
    reader.feed(b"\0")
    return reader


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]


@given(made)
def test_what_is_encoded_is_read_again(frame: Frame) -> None:
    line = line_of(frame)
    assert line.index(0) == len(line) - 1
    assert len(line) <= frames.MAX_LINE
    assert FrameReader().feed(line) == [frame]


def test_the_layout_is_that_of_the_protocol() -> None:
    packet = struct.pack("<BBHH", 1, 5, 0x1234, 0xFFFE) + b"body"
    assert encode(5, 0x1234, 0xFFFE, b"body") == stuff(packet + struct.pack("<I", zlib.crc32(packet))) + b"\0"
    assert zlib.crc32(b"123456789") == 0xCBF43926


def test_the_largest_body_is_sent_and_read_and_one_byte_more_is_not() -> None:
    largest = line_of(Frame(2, 1, 1, b"\x01" * 1014))
    assert len(largest) == frames.MAX_LINE
    assert len(FrameReader().feed(largest)) == 1
    with pytest.raises(ValueError, match="at most 1014"):
        encode(2, 1, 1, b"\x01" * 1015)


@given(st.lists(made, max_size=6), st.binary(max_size=30), st.data())
def test_the_same_frames_and_faults_however_the_bytes_are_cut(sent: list[Frame], noise: bytes, data: st.DataObject) -> None:
    line = noise + b"".join(line_of(frame) for frame in sent) + noise
    cuts = data.draw(st.lists(st.integers(0, len(line)), max_size=10))
    whole, cut, single = FrameReader(), FrameReader(), FrameReader()
    wanted = whole.feed(line)
    assert [frame for piece in in_pieces(line, cuts) for frame in cut.feed(piece)] == wanted
    assert [frame for byte in line for frame in single.feed(bytes([byte]))] == wanted
    assert whole.faults == cut.faults == single.faults
    assert whole.resyncs == cut.resyncs == single.resyncs


@given(st.lists(st.integers(1000, 3000), min_size=1, max_size=4), st.booleans(), st.data())
@settings(max_examples=60)
def test_lines_that_are_too_long_are_counted_once_however_they_are_cut(sizes: list[int], begun: bool, data: st.DataObject) -> None:
    sent = Frame(2, 1, 1, b"\x01\x02")
    line = b"\0" * begun + b"\0".join(b"\x11" * size for size in sizes) + b"\0" + line_of(sent)
    pieces = in_pieces(line, data.draw(st.lists(st.integers(0, len(line)), max_size=20)))
    cut, whole = FrameReader(), FrameReader()
    assert [frame for piece in pieces for frame in cut.feed(piece)] == whole.feed(line) == [sent]
    assert cut.faults == whole.faults
    assert sum(cut.faults.values()) == len(sizes) - (not begun)


def test_keeps_no_more_than_a_line() -> None:
    reader = started()
    for _ in range(1000):
        reader.feed(b"\x11" * 999)
        assert len(reader._half) < frames.MAX_LINE
    assert reader.faults == {**dict.fromkeys(frames.FAULTS, 0), "too-long": 1}
    assert reader.feed(b"\0" + line_of(Frame(1, 2, 3, b""))) == [Frame(1, 2, 3, b"")]
    assert reader.resyncs == 1


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"\x09abc\0", "bad-stuffing"),
        (b"\xff" + b"a" * 20 + b"\0", "bad-stuffing"),
        (b"\x01\0", "too-short"),
        (stuff(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09") + b"\0", "too-short"),
        (line_with(b"\x01\x02\x03\x04\x05"), "too-short"),
        (line_with(b"\x01\x02" + bytes(1019)), "too-long"),
        (b"\x11" * 1030 + b"\0", "too-long"),
        (b"\x11" * 5000 + b"\0", "too-long"),
        (stuff(b"\x01\x02\x00\x00\x00\x00" + bytes(4)) + b"\0", "bad-crc"),
        (line_with(b"\x02\x02\x00\x00\x00\x00"), "other-version"),
        (line_with(b"\x00\x02\x00\x00\x00\x00"), "other-version"),
    ],
)
def test_each_fault_is_counted_under_its_name_and_the_next_frame_is_read(line: bytes, name: str) -> None:
    reader, sent = started(), Frame(3, 4, 5, b"body")
    assert reader.feed(line + line_of(sent)) == [sent]
    assert reader.faults == {**dict.fromkeys(frames.FAULTS, 0), name: 1}
    assert reader.resyncs == 1


def test_a_packet_of_1024_bytes_is_none_too_many() -> None:
    assert len(started().feed(line_with(b"\x01\x02" + bytes(1018)))) == 1


def test_zeros_between_frames_are_nothing() -> None:
    reader, sent = started(), Frame(3, 4, 5, b"body")
    assert reader.feed(b"\0\0\0" + line_of(sent) + b"\0\0" + line_of(sent)) == [sent, sent]
    assert not any(reader.faults.values())
    assert reader.resyncs == 0


def test_half_a_frame_after_opening_is_no_fault() -> None:
    reader, sent = FrameReader(), Frame(3, 4, 5, b"body")
    assert reader.feed(line_of(sent)[5:] + line_of(sent)) == [sent]
    assert not any(reader.faults.values())
    assert reader.resyncs == 1
    reader.feed(line_of(sent)[:5])
    reader.reset()
    assert reader.feed(line_of(sent)[7:] + line_of(sent)) == [sent]
    assert not any(reader.faults.values())


def test_a_line_of_a_text_firmware_has_no_frame() -> None:
    reader = FrameReader()
    for number in range(2000):
        assert reader.feed(f"accel {number} 12 34\r\n".encode()) == []
    assert not any(reader.faults.values())


def worse(line: bytearray, noise: random.Random) -> None:
    """Do to some bytes what a bad line does: turn bits, lose bytes, add some."""
    for _ in range(noise.randrange(4)):
        if not line:
            return
        at = noise.randrange(len(line))
        match noise.randrange(4):
            case 0:
                line[at] ^= 1 << noise.randrange(8)
            case 1:
                del line[at : at + noise.randrange(1, 40)]
            case 2:
                line[at:at] = noise.randbytes(noise.randrange(1, 40))
            case _:
                line[at] = 0


@pytest.mark.parametrize("seed", range(5))
def test_on_a_bad_line_no_frame_is_wrong_and_each_whole_one_is_read(seed: int) -> None:
    """Every second frame is spoiled; a zero of its own begins each good one, as a sender may do."""
    noise = random.Random(seed)
    reader, sent, read = started(), [], []
    for number in range(1500):
        frame = Frame(2, 7, number, noise.randbytes(noise.randrange(200)))
        spoiled = bytearray(line_of(frame))
        worse(spoiled, noise)
        good = Frame(2, 7, number + 1500, noise.randbytes(noise.randrange(200)))
        sent += [frame, good]
        line = bytes(spoiled) + b"\0" + line_of(good)
        while line:
            size = noise.randrange(1, 300)
            read += reader.feed(line[:size])
            line = line[size:]
            assert len(reader._half) < frames.MAX_LINE
    known = set(sent)
    assert [frame for frame in read if frame not in known] == []
    assert [frame for frame in sent if frame.sequence >= 1500] == [frame for frame in read if frame.sequence >= 1500]
    assert reader.faults["bad-crc"] > 100
    assert reader.faults["bad-stuffing"] > 100
    assert reader.resyncs > 500


@given(st.binary(max_size=3000))
def test_random_bytes_never_raise_and_are_followed_by_the_next_frame(noise: bytes) -> None:
    reader, sent = started(), Frame(3, 4, 5, b"body")
    assert reader.feed(noise) == []
    assert reader.feed(b"\0" + line_of(sent)) == [sent]
