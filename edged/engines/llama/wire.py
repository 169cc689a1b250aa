"""What a runner and its parent say to each other: frames of msgpack behind their length, over a socket that both inherit.

The runner runs a runtime on a file that somebody else made, so the parent trusts none of its frames; the runner answers nobody but
its parent, and ends where it cannot read a frame.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from typing import Generic, Literal, TypeVar

import msgspec

from edged.engines.text import Prompt

MOST_BYTES = 16 << 20  # of a frame
_LENGTH = struct.Struct("<I")
_PIECE = 1 << 16

Job = Literal["score", "pool", "write"]


class Garbled(Exception):
    """What came is no frame, or not one that is expected."""


class Closed(Exception):
    """The other side is gone."""


class Silent(Exception):
    """Nothing came in time, or what is sent was not taken."""


class _Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="is"):
    """What all frames share."""


class Load(_Frame, frozen=True, kw_only=True, tag="load"):
    """Load a model; the first frame. `grammar` in GBNF holds an answer to a form; empty: any answer."""

    runtime: str
    path: str
    job: Job
    prompt: Prompt
    labels: tuple[str, ...]
    grammar: str
    max_tokens: int
    stop: tuple[str, ...]
    temperature: float
    max_chars: int
    context: int
    threads: int
    block: int


class Score(_Frame, frozen=True, kw_only=True, tag="score"):
    """Give log-odds [texts, labels]."""

    texts: list[str]


class Pool(_Frame, frozen=True, kw_only=True, tag="pool"):
    """Give embeddings [texts, width]."""

    texts: list[str]


class Write(_Frame, frozen=True, kw_only=True, tag="write"):
    """Answer texts; `deadline_ms` from now."""

    texts: list[str]
    deadline_ms: float


class Pause(_Frame, frozen=True, kw_only=True, tag="pause"):
    """Say `Paused` at the next place where that can be, and wait for `Go`. Means nothing to a runner that does nothing."""


class Go(_Frame, frozen=True, kw_only=True, tag="go"):
    """Go on."""


class Ready(_Frame, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded. `prefix`: tokens that are computed once."""

    values: int
    batch: int
    context: int
    prefix: int


class Working(_Frame, frozen=True, kw_only=True, tag="working"):
    """Something was done since the last frame."""


class Paused(_Frame, frozen=True, kw_only=True, tag="paused"):
    """The processor and the memory are somebody else's until `Go`."""


class Numbers(_Frame, frozen=True, kw_only=True, tag="numbers"):
    """Float64, little-endian, [rows, columns]; tokens that were evaluated for them, and tokens of texts that there was no room for."""

    rows: int
    columns: int
    data: bytes
    tokens: int
    cut: int


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """As `Written`."""

    text: str
    tokens: int
    truncated: str


class Answers(_Frame, frozen=True, kw_only=True, tag="answers"):
    """One for each text; tokens that were evaluated for them."""

    answers: list[Answer]
    tokens: int


class Failed(_Frame, frozen=True, kw_only=True, tag="failed"):
    """An error of edged's own, as its `as_dict` says."""

    family: str
    code: str
    text: str
    hint: str


Request = Load | Score | Pool | Write | Pause | Go
Reply = Ready | Working | Paused | Numbers | Answers | Failed

requests = msgspec.msgpack.Decoder(Request)
replies = msgspec.msgpack.Decoder(Reply)
_encoder = msgspec.msgpack.Encoder()
_Incoming = TypeVar("_Incoming")


class Channel(Generic[_Incoming]):
    """One end of the socket. Any thread may send; one receives."""

    def __init__(self, end: socket.socket, decoder: msgspec.msgpack.Decoder[_Incoming], patience_s: float | None = None) -> None:
        """`patience_s`: how long the other side may need to take a frame; None: for ever."""
        end.settimeout(patience_s)
        self._socket = end
        self._decoder = decoder
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, frame: _Frame) -> None:
        """Send a frame. Raises Silent where the other side does not take it, Closed; Garbled where it is too large."""
        data = _encoder.encode(frame)
        if len(data) > MOST_BYTES:
            raise Garbled(f"a frame of {len(data)} bytes")
        try:
            with self._lock:
                self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except TimeoutError as error:
            raise Silent from error
        except OSError as error:
            raise Closed from error

    def waits(self, seconds: float = 0.0) -> bool:
        """Say whether something comes within so many seconds: a frame, or the end."""
        return bool(self._poll.poll(seconds * 1000))

    def receive(self, seconds: float | None = None) -> _Incoming:
        """Take the next frame. Raises Silent where nothing more came for `seconds`, Closed, Garbled."""
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size, seconds))
        if length > MOST_BYTES:
            raise Garbled(f"a frame of {length} bytes is announced")
        try:
            return self._decoder.decode(self._take(length, seconds))
        except (msgspec.DecodeError, RecursionError) as error:
            raise Garbled(str(error)) from error

    def close(self) -> None:
        """End it for both sides."""
        self._socket.close()

    def _take(self, count: int, seconds: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            if seconds is not None and not self.waits(seconds):
                raise Silent
            try:
                data = self._socket.recv(min(count - len(parts), _PIECE))
            except OSError as error:
                raise Closed from error
            if not data:
                raise Closed
            parts += data
        return bytes(parts)
