"""Recorded input: what came in, when, for which pipeline; and its replay under a virtual clock.

A recording is JSON lines. The first is a header, each other one message:

    {"edged-recording": 1, "started": 1795351772626297935, "run": "9f…"}
    {"at": 12000000, "pipeline": "pump", "topic": "…", "payload": "…"}

`at` is nanoseconds since `started`; topic and payload are base64, a payload of null was
longer than the source takes. Messages with the same `at` and pipeline came in together.

The same recording gives the same results each time, to the byte: time stands still while a
batch is worked on, and what is unique to a run comes from the header.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from edged.clock import Clock, VirtualClock
from edged.errors import OperatorError
from edged.records import Batch

VERSION = 1
MAX_LINE = 4 << 20  # a message of the largest size a source takes, in base64, with room


# Two of them together still fit 64 bits.
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Header(msgspec.Struct, rename={"version": "edged-recording"}):
    """The first line. `started` since 1970 UTC."""

    version: int
    started: Nanoseconds
    run: str


class Entry(msgspec.Struct):
    """One message."""

    at: Nanoseconds
    pipeline: str
    topic: str
    payload: str | None


class Recorder:
    """Appends batches to an unbuffered file; `deliver_for` gives each pipeline's source its door. Any thread.

    `error` is what ended it: nothing is taken, nor acknowledged, after a write that failed.
    """

    def __init__(self, file: BinaryIO, clock: Clock, run: str) -> None:
        self._file = file
        self._started = clock.wall()
        self._started_mono = clock.mono()
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode
        self.messages = 0
        self.bytes = 0
        self.error: OSError | None = None
        self._write([Header(VERSION, self._started, run)])

    def deliver_for(self, pipeline: str) -> Callable[[Batch], bool]:
        """Give what records the batches of one pipeline."""

        def deliver(batch: Batch) -> bool:
            at = batch.arrival_mono - self._started_mono
            pairs = zip(batch.topics, batch.payloads)
            entries = [Entry(at, pipeline, _to_text(topic) or "", _to_text(payload)) for topic, payload in pairs]
            with self._lock:
                if not self._try(entries):
                    return False
                self.messages += len(entries)
            if batch.done:
                batch.done()
            return True

        return deliver

    def _try(self, entries: list[Entry]) -> bool:
        try:
            if self.error is None:
                self._write(entries)
        except OSError as error:
            self.error = error
        return self.error is None

    def _write(self, lines: list[Header] | list[Entry]) -> None:
        data = memoryview(b"".join(self._encode(line) + b"\n" for line in lines))
        self.bytes += len(data)
        while data:
            data = data[self._file.write(data) :]


def _pass_over(line: int) -> None:
    """Say nothing of a cut last line."""


def read_header(file: BinaryIO, path: Path) -> Header:
    """Read the first line; OperatorError(`not-a-recording`) where it is none of ours."""
    try:
        header = msgspec.json.decode(file.readline(MAX_LINE), type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OperatorError("not-a-recording", f"{path} is not a recording: {error}", "make one with `edged record`") from None
    if header.version != VERSION:
        raise OperatorError("not-a-recording", f"{path} is a recording of version {header.version}, this edged reads {VERSION}", "")
    return header


def batches(file: BinaryIO, header: Header, path: Path, on_cut: Callable[[int], None] = _pass_over) -> Iterator[tuple[str, Batch]]:
    """Give (pipeline, batch) in order. A cut last line, as after a power loss, ends the recording; `on_cut` gets its number."""
    decode = msgspec.json.Decoder(Entry).decode
    together: list[Entry] = []
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 2):
        if not line.endswith(b"\n") and len(line) < MAX_LINE:
            on_cut(number)
            break
        try:
            entry = decode(line)
            _from_text(entry.topic), _from_text(entry.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise OperatorError("bad-recording", f"{path}:{number}: {error}", "the lines before it are sound: cut the file there") from None
        if together and (entry.at, entry.pipeline) != (together[0].at, together[0].pipeline):
            yield together[0].pipeline, _batch(together, header)
            together = []
        together.append(entry)
    if together:
        yield together[0].pipeline, _batch(together, header)


def replay(
    file: BinaryIO,
    header: Header,
    path: Path,
    clock: VirtualClock,
    process: Callable[[str, Batch], None],
    on_cut: Callable[[int], None] = _pass_over,
) -> int:
    """Give each batch to `process` at its own time on `clock`; count the messages."""
    count = 0
    for pipeline, batch in batches(file, header, path, on_cut):
        clock.set_wall(batch.arrival)
        batch.arrival_mono = clock.mono()
        process(pipeline, batch)
        count += len(batch.topics)
    return count


def _batch(entries: list[Entry], header: Header) -> Batch:
    arrival = header.started + entries[0].at
    topics = [_from_text(entry.topic) or b"" for entry in entries]
    return Batch(topics, [_from_text(entry.payload) for entry in entries], arrival, 0)


def _to_text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _from_text(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
