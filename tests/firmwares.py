"""A firmware made of Python, for tests of the board's side of the bridge: bytes in, bytes out, no line and no clock."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from firmware_bridge import frames
from firmware_bridge.messages import Ack, Channel, Event, Hello, Ping, Result, TimeAnswer, TimeQuestion

VIBRO = Hello("vibro", "1.2", "int16", 1_000_000, 26.0, 2, (Channel("x", "mg", 0.5), Channel("y", "mg", 0.5), Channel("z", "mg", 0.5)))

_LETTERS = {"int16": "h", "int32": "i", "float32": "f"}


@dataclass
class FakeFirmware:
    """Makes the frames that a firmware would, and answers what a board sends.

    `tick` is its clock: a test may set it, and `samples` moves it on by what its readings take.
    """

    hello: Hello = VIBRO
    session: int = 0x1234
    sequence: int = 0  # of the next frame
    tick: int = 0
    answers: bool = True  # PINGs and questions of time
    acknowledges: bool = True  # RESULTs
    results: list[Result] = field(default_factory=list)  # what it was told, in order
    pings: int = 0  # how often it was asked who it is
    questions: int = 0  # how often it was asked for the time
    _reader: frames.FrameReader = field(default_factory=frames.FrameReader)

    def start(self, session: int | None = None) -> bytes:
        """Begin as after power-on, with a new session or, without one, the same again; give the HELLO that it sends."""
        self.session = self.session if session is None else session
        self.sequence = self.tick = 0
        self._reader = frames.FrameReader()
        return self.say_hello()

    def say_hello(self) -> bytes:
        return self.frame(frames.HELLO, self.hello.encode())

    def samples(self, rows: Sequence[Sequence[float]], tick: int | None = None) -> bytes:
        """Give a block of raw samples, a row for each reading; `tick` is of the last one, by default as the nominal rate has it."""
        self.tick += round(len(rows) * self.hello.tick_hz / self.hello.rate_hz) if tick is None else tick - self.tick
        flat = [value for row in rows for value in row]
        return self.frame(frames.SAMPLES, struct.pack(f"<I{len(flat)}{_LETTERS[self.hello.kind]}", self.tick % 2**32, *flat))

    def block(self, count: int = 10) -> bytes:
        """Give a block of `count` readings whose values do not matter."""
        return self.samples([[1] * len(self.hello.channels)] * count)

    def text(self, text: str) -> bytes:
        return self.frame(frames.TEXT, text.encode())

    def event(self, event: Event) -> bytes:
        return self.frame(frames.EVENT, event.encode())

    def ping(self) -> bytes:
        return self.frame(frames.PING, Ping(want_hello=False).encode())

    def lose(self, count: int) -> None:
        """Send `count` frames that never arrive."""
        self.sequence = (self.sequence + count) % 2**16

    def frame(self, type_: int, body: bytes) -> bytes:
        """Give the next frame, of any type and with any body."""
        line = frames.encode(type_, self.session, self.sequence, body)
        self.sequence = (self.sequence + 1) % 2**16
        return line

    def receive(self, data: bytes) -> bytes:
        """Take what the board sends; give the answers."""
        return b"".join(self._answer(frame) for frame in self._reader.feed(data))

    def _answer(self, frame: frames.Frame) -> bytes:
        if frame.type == frames.PING:
            want_hello = Ping.decode(frame.body).want_hello
            self.pings += want_hello
            if not self.answers:
                return b""
            return self.say_hello() if want_hello else self._acknowledge(frame)
        if frame.type == frames.TIME:
            self.questions += 1
            tick = self.tick % 2**32
            answer = TimeAnswer(TimeQuestion.decode(frame.body).host_ns, tick, tick)
            return self.frame(frames.TIME, answer.encode()) if self.answers else b""
        if frame.type == frames.RESULT:
            self.results.append(Result.decode(frame.body))
            return self._acknowledge(frame) if self.acknowledges else b""
        return b""

    def _acknowledge(self, frame: frames.Frame) -> bytes:
        return self.frame(frames.ACK, Ack(frame.sequence).encode())
