"""Bodies of frames: what a firmware and a board tell each other, to bytes and back."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["int16", "int32", "float32"]

MAX_CHANNELS = 16
MAX_WINDOW = 16
MAX_TICK_HZ = 100_000_000
MIN_RATE_HZ = 1e-6  # a reading in eleven days: no block begins before the clocks that date it
MAX_RATE_HZ = 1_000_000
MAX_NAME = 32  # bytes of UTF-8, as below
MAX_VERSION = 16
MAX_UNIT = 16
MAX_LABEL = 32

_KINDS: dict[int, Kind] = {1: "int16", 2: "int32", 3: "float32"}
_CODES = {kind: code for code, kind in _KINDS.items()}
_SAMPLE_BYTES = {"int16": 2, "int32": 4, "float32": 4}
_FLOAT_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]

_HELLO = struct.Struct("<BBBBIf")
_FLOAT = struct.Struct("<f")
_TICK = struct.Struct("<I")
_EVENT = struct.Struct("<Hi")
_QUESTION = struct.Struct("<Q")
_ANSWER = struct.Struct("<QII")
_RESULT = struct.Struct("<BBf")
_ACK = struct.Struct("<H")


class BadMessage(ValueError):
    """A body that does not fit its type; its text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity that a firmware measures: reading = sample × scale, in `unit`."""

    name: str
    unit: str
    scale: float


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a firmware is and what its samples mean."""

    firmware: str
    version: str
    kind: Kind
    tick_hz: int
    rate_hz: float
    window: int
    channels: tuple[Channel, ...]

    @property
    def reading_bytes(self) -> int:
        """Give the bytes of one reading: a sample of each channel."""
        return _SAMPLE_BYTES[self.kind] * len(self.channels)

    def encode(self) -> bytes:
        """Give the body. Raises BadMessage for what the protocol does not allow."""
        _check(self)
        head = _HELLO.pack(_CODES[self.kind], len(self.channels), self.window, 0, self.tick_hz, self.rate_hz)
        parts = [head, _text(self.firmware), _text(self.version)]
        for channel in self.channels:
            parts += [_text(channel.name), _text(channel.unit), _FLOAT.pack(channel.scale)]
        return b"".join(parts)

    @classmethod
    def decode(cls, body: bytes) -> Hello:
        """Give what `body` says. Raises BadMessage."""
        code, count, window, zero, tick_hz, rate_hz = _fields(_HELLO, body)
        if zero or code not in _KINDS:
            raise BadMessage(f"samples of an unknown kind {code}, {zero}")
        texts = _Texts(body, _HELLO.size)
        firmware, version = texts.take(), texts.take()
        channels = tuple(Channel(texts.take(), texts.take(), texts.take_float()) for _ in range(count))
        hello = cls(firmware, version, _KINDS[code], tick_hz, rate_hz, window, channels)
        _check(hello)
        return hello


@dataclass(frozen=True, slots=True)
class Samples:
    """A block of readings: `data` are the raw samples, `tick` is that of the last reading."""

    tick: int
    data: bytes
    count: int


def split_samples(body: bytes, hello: Hello) -> Samples:
    """Give the block in the body of a SAMPLES frame. Raises BadMessage for no reading, or half a one."""
    (tick,) = _fields(_TICK, body)
    count, rest = divmod(len(body) - _TICK.size, hello.reading_bytes)
    if rest or not count:
        raise BadMessage(f"{len(body) - _TICK.size} bytes of samples, a reading has {hello.reading_bytes}")
    return Samples(tick, body[_TICK.size :], count)


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened: the firmware's own code and value, and words for people."""

    code: int
    value: int
    text: str

    def encode(self) -> bytes:
        """Give the body."""
        return _EVENT.pack(self.code, self.value) + self.text.encode()

    @classmethod
    def decode(cls, body: bytes) -> Event:
        """Give what `body` says; bytes that are not UTF-8 are replaced. Raises BadMessage."""
        code, value = _fields(_EVENT, body)
        return cls(code, value, body[_EVENT.size :].decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class TimeQuestion:
    """The board's time in nanoseconds, which the firmware gives back."""

    host_ns: int

    def encode(self) -> bytes:
        """Give the body."""
        return _QUESTION.pack(self.host_ns)

    @classmethod
    def decode(cls, body: bytes) -> TimeQuestion:
        """Give what `body` says. Raises BadMessage."""
        return cls(*_fields(_QUESTION, body))


@dataclass(frozen=True, slots=True)
class TimeAnswer:
    """A question's time, and the ticks at which it came in and its answer goes out."""

    host_ns: int
    tick_in: int
    tick_out: int

    def encode(self) -> bytes:
        """Give the body."""
        return _ANSWER.pack(self.host_ns, self.tick_in, self.tick_out)

    @classmethod
    def decode(cls, body: bytes) -> TimeAnswer:
        """Give what `body` says. Raises BadMessage."""
        return cls(*_fields(_ANSWER, body))


@dataclass(frozen=True, slots=True)
class Result:
    """What the model says of the readings."""

    label: str
    score: float | None
    alarm: bool

    def encode(self) -> bytes:
        """Give the body; of a long label as many whole characters as fit into 32 bytes, of a score what float32 can hold."""
        label = self.label.encode("utf-8", "replace")[:MAX_LABEL].decode("utf-8", "ignore")
        score = 0.0 if self.score is None else min(max(self.score, -_FLOAT_MAX), _FLOAT_MAX)
        return _RESULT.pack(self.alarm | (self.score is not None) << 1, 0, score) + _text(label)

    @classmethod
    def decode(cls, body: bytes) -> Result:
        """Give what `body` says. Raises BadMessage."""
        bits, _, score = _fields(_RESULT, body)
        label = _Texts(body, _RESULT.size).take()
        if len(label.encode()) > MAX_LABEL:
            raise BadMessage(f"a label of more than {MAX_LABEL} bytes")
        return cls(label, score if bits & 2 else None, bool(bits & 1))


@dataclass(frozen=True, slots=True)
class Ack:
    """The frame with this sequence was taken."""

    sequence: int

    def encode(self) -> bytes:
        """Give the body."""
        return _ACK.pack(self.sequence)

    @classmethod
    def decode(cls, body: bytes) -> Ack:
        """Give what `body` says. Raises BadMessage."""
        return cls(*_fields(_ACK, body))


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? And, with `want_hello`, who are you?"""

    want_hello: bool

    def encode(self) -> bytes:
        """Give the body."""
        return bytes([self.want_hello])

    @classmethod
    def decode(cls, body: bytes) -> Ping:
        """Give what `body` says. Raises BadMessage."""
        if body[:1] not in (b"\0", b"\1"):
            raise BadMessage("a PING wants nothing that is known")
        return cls(body[0] == 1)


def _fields(layout: struct.Struct, body: bytes) -> tuple[Any, ...]:
    """Unpack the first fields of a body; what a later version adds behind them is passed over."""
    if len(body) < layout.size:
        raise BadMessage(f"{len(body)} bytes, at least {layout.size} are due")
    return layout.unpack_from(body)


def _text(text: str) -> bytes:
    raw = text.encode()
    return bytes([len(raw)]) + raw


class _Texts:
    """Reads texts and floats one after the other from a body."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._at = at

    def take(self) -> str:
        raw = self._take(self._take(1)[0])
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise BadMessage("a text that is not UTF-8") from None

    def take_float(self) -> float:
        return float(_FLOAT.unpack(self._take(4))[0])

    def _take(self, size: int) -> bytes:
        raw = self._body[self._at : self._at + size]
        if len(raw) < size:
            raise BadMessage("the body ends early")
        self._at += size
        return raw


def _check(hello: Hello) -> None:
    """Raise BadMessage for what the protocol does not allow."""
    if not 1 <= len(hello.channels) <= MAX_CHANNELS:
        raise BadMessage(f"1 to {MAX_CHANNELS} channels, not {len(hello.channels)}")
    if not 0 <= hello.window <= MAX_WINDOW:
        raise BadMessage(f"a window of 0 to {MAX_WINDOW}, not {hello.window}")
    if not 1 <= hello.tick_hz <= MAX_TICK_HZ:
        raise BadMessage(f"1 to {MAX_TICK_HZ} ticks a second, not {hello.tick_hz}")
    if not _single(MIN_RATE_HZ) <= _single(hello.rate_hz) <= MAX_RATE_HZ:
        raise BadMessage(f"{MIN_RATE_HZ} to {MAX_RATE_HZ} readings a second, not {hello.rate_hz}")
    names = [channel.name for channel in hello.channels]
    if len(set(names)) < len(names):
        raise BadMessage("two channels of one name")
    for text, least, most in [
        (hello.firmware, 1, MAX_NAME),
        (hello.version, 0, MAX_VERSION),
        *((channel.name, 1, MAX_NAME) for channel in hello.channels),
        *((channel.unit, 0, MAX_UNIT) for channel in hello.channels),
    ]:
        if not least <= len(text.encode()) <= most:
            raise BadMessage(f"a text of {least} to {most} bytes, not {text!r}")
    for channel in hello.channels:
        scale = _single(channel.scale)
        if not math.isfinite(scale) or not scale:
            raise BadMessage(f"a finite scale that is not 0, not {channel.scale}")


def _single(value: float) -> float:
    """Give the nearest float32, infinite where it is out of range."""
    try:
        return float(_FLOAT.unpack(_FLOAT.pack(value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
