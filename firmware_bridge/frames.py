"""Frames of the bridge on the line: bytes to whole frames, however they are cut, and frames to bytes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from firmware_bridge.cobs import stuff, unstuff

VERSION = 1
MAX_PACKET = 1024
MAX_BODY = 1014
MAX_LINE = 1030  # of a stuffed packet with its closing zero

HELLO = 1
SAMPLES = 2
TEXT = 3
EVENT = 4
TIME = 5
RESULT = 6
ACK = 7
PING = 8

FAULTS = ("bad-stuffing", "too-short", "too-long", "bad-crc", "other-version")

_HEADER = struct.Struct("<BBHH")
_MIN_PACKET = 10
# What CRC-32 gives for any bytes with their own CRC-32 behind them.
_RESIDUE = 0x2144DF1C


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame; its type may be one that is not known."""

    type: int
    session: int
    sequence: int
    body: bytes


def encode(type_: int, session: int, sequence: int, body: bytes) -> bytes:
    """Give a frame as it goes over the line, with its closing zero.

    `type_` is 0 to 255, `session` and `sequence` are 0 to 65535. Raises ValueError for a body over `MAX_BODY` bytes.
    """
    if len(body) > MAX_BODY:
        raise ValueError(f"a body has at most {MAX_BODY} bytes, this one has {len(body)}")
    packet = _HEADER.pack(VERSION, type_, session, sequence) + body
    return stuff(packet + zlib.crc32(packet).to_bytes(4, "little")) + b"\0"


class FrameReader:
    """Finds the frames in the bytes of a line: the same ones, and the same faults, however the bytes are cut.

    `faults` counts what was no frame, by the names in `FAULTS`; `resyncs` counts how often whole frames came again
    after something that was none. What comes before the first zero may be half a frame: it is no fault.
    """

    def __init__(self) -> None:
        self.faults = dict.fromkeys(FAULTS, 0)
        self.resyncs = 0
        self._astray = False  # what came last was no frame
        self.reset()

    def reset(self) -> None:
        """Forget a half frame: the port was closed, and what comes next begins anywhere."""
        self._half = b""
        self._dropping = False  # the rest of a line that was too long, up to its zero
        self._first = True

    def feed(self, data: bytes) -> list[Frame]:
        """Give the frames that `data` completes, in order. Raises nothing; keeps fewer than `MAX_LINE` bytes."""
        *lines, half = (self._half + data).split(b"\0")
        if self._dropping and lines:
            self._dropping = False
            lines[0] = b""
        if self._dropping:
            half = b""
        self._half = half
        frames: list[Frame] = []
        for line in lines:
            if line:
                found = _decode(line)
                if isinstance(found, Frame):
                    frames.append(found)
                    self._whole()
                else:
                    self._fault(found)
            self._first = False
        if len(half) >= MAX_LINE:
            self._fault("too-long")
            self._half = b""
            self._dropping = True
        return frames

    def _whole(self) -> None:
        if self._astray:
            self._astray = False
            self.resyncs += 1

    def _fault(self, name: str) -> None:
        if not self._first:
            self.faults[name] += 1
        self._astray = True


def _decode(line: bytes) -> Frame | str:
    """Give the frame in a line without its zero, or the name of what is wrong with it."""
    if len(line) >= MAX_LINE:
        return "too-long"
    try:
        packet = unstuff(line)
    except ValueError:
        return "bad-stuffing"
    if len(packet) < _MIN_PACKET:
        return "too-short"
    if len(packet) > MAX_PACKET:
        return "too-long"
    if zlib.crc32(packet) != _RESIDUE:
        return "bad-crc"
    version, type_, session, sequence = _HEADER.unpack_from(packet)
    if version != VERSION:
        return "other-version"
    return Frame(type_, session, sequence, packet[_HEADER.size : -4])
