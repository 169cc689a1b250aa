"""One serial port of the daemon: a thread that opens it, reads it, and opens it again when it comes back.

The thread is called `serial-<port>`. It never waits for a firmware to take bytes, and for a
pipeline only where its queue is to block; meanwhile the kernel holds some 4 KiB, and what does
not fit there is lost and shows as a gap.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edged.clock import NS, Clock
from edged.config import schema
from edged.errors import BugError, EdgedError
from edged.records import Batch
from edged.stream.sources.serial import SerialSource
from edged.stream.sources.serial_end import Came, SerialEnd
from edged.stream.sources.serial_errors import as_edged
from firmware_bridge.messages import Hello, Result
from firmware_bridge.port import Port, PortError

WAKE_S = 0.1  # between two looks at timers while nothing comes
AGAIN_S = 0.5  # between two attempts to open the port
OFTEN_NS = NS // 40  # between two reads of a line that is busy
LET_COME_S = 0.015  # before its next read
MUCH = 1024  # bytes of one read; the kernel keeps 4 KiB
ANSWER_NS = NS // 40  # in which a firmware answers, if it does
STOP_S = 2.0


class OpenPort(Protocol):
    """What the thread needs of `firmware_bridge.port.Port`."""

    def read(self, timeout_s: float) -> bytes:
        """Wait for bytes; nothing after the timeout, or when woken. Raises PortError."""

    def write(self, data: bytes) -> int:
        """Write what the port takes now, and say how many bytes that was. Raises PortError."""

    def wake(self) -> None:
        """Let a read return now."""

    def close(self) -> None:
        """Let the port go."""


@dataclass(frozen=True)
class SerialState:
    """How a line is. `state`: open | waiting (not tried yet) | failing, since `since_ns` (monotonic).

    `counts` are faults by name (`firmware_bridge/PROTOCOL.md`, and what the link and the line reader add). `garbled`: bytes come and
    nothing whole among them. `silent_s`: since when an open port has brought nothing. `accuracy_ms` is the own estimate of how
    well readings are placed in time, `drift_ppm` by how much the firmware's clock is fast. None: not known.
    """

    port: str
    baud: int
    state: str
    since_ns: int
    error: EdgedError | None
    framing: str
    hello: Hello | None
    counts: dict[str, int]
    frames: int
    lines: int
    readings: int
    bytes: int
    last_event: str
    last_text: str
    garbled: bool
    silent_s: float | None
    two_senders: bool
    accuracy_ms: float | None
    drift_ppm: float | None
    unplugged: int
    results_sent: int


class SerialLine:
    """A port and all pipelines that read it, or write to it."""

    def __init__(self, options: schema.SerialSource, clock: Clock, open_port: Callable[[str, int], OpenPort] = Port.open) -> None:
        self.options = options
        self.error: EdgedError | None = None
        self._clock = clock
        self._open_port = open_port
        self._end = SerialEnd(options.framing, clock)
        self._topic = os.fsencode(options.port)
        self._sources: list[SerialSource] = []
        self._handing = threading.Lock()  # over a result from the threads that make them
        self._result: Result | None = None  # the newest that was handed over
        self._replaced = 0  # by a newer one, before it was taken
        self._read_ns = 0  # monotonic, of the last bytes
        self._asked_ns = 0  # of what was written last
        self._unsent = b""
        self._port: OpenPort | None = None
        self._since = clock.mono()
        self._unplugged = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"serial-{os.path.basename(options.port)}", daemon=True)

    def add(self, source: SerialSource) -> None:
        """Let one more pipeline read; before `start`, or while the line runs."""
        self._sources = [*self._sources, source]

    def start(self) -> None:
        """Open the port, and keep it open; may be called again."""
        if self._thread.ident is None and not self._stopping.is_set():  # one that a bug has ended stays so
            self._thread.start()

    def leave(self, source: SerialSource) -> None:
        """Let a pipeline read no more; with the last one the port is closed. May be called again."""
        self._sources = [each for each in self._sources if each is not source]
        if self._sources or self._stopping.is_set():
            return
        self._stopping.set()
        self._wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    def send(self, result: Result) -> None:
        """Hand a result over; the newest counts. For any thread; waits for nothing."""
        with self._handing:
            self._replaced += self._result is not None
            self._result = result
        self._wake()

    def state(self) -> SerialState:
        """Say how the line is now. For any thread."""
        end, port, now = self._end, self._port, self._clock.mono()
        stamps = end.link.stamps
        fit = stamps.fit if stamps else None
        accuracy = fit.accuracy_ns if fit else None
        return SerialState(
            port=self.options.port,
            baud=self.options.baud,
            state="open" if port else "failing" if self.error else "waiting",
            since_ns=self._since,
            error=self.error,
            framing=end.framing,
            hello=end.link.hello,
            counts=self._counts(),
            frames=end.link.frames,
            lines=end.lines,
            readings=end.readings,
            bytes=end.bytes,
            last_event=end.last_event,
            last_text=end.last_text,
            garbled=port is not None and end.garbled(now),
            silent_s=(now - max(end.last_bytes_ns, self._since)) / NS if port else None,
            two_senders=end.link.two_senders,
            accuracy_ms=None if accuracy is None else accuracy / 1e6,
            drift_ppm=fit.drift_ppm if fit else None,
            unplugged=self._unplugged,
            results_sent=end.link.results_sent,
        )

    def _counts(self) -> dict[str, int]:
        """Give what was counted at all, by name."""
        counts = Counter(self._end.link.counts)
        if self._end.framing != "framed":
            counts.update(self._end.lines_in.counts)  # both have a `too-long`
        counts["result-replaced"] += self._replaced
        return {name: count for name, count in counts.items() if count}

    def _wake(self) -> None:
        port = self._port
        if port is not None:
            port.wake()

    def _run(self) -> None:
        try:
            self._keep_open()
        except Exception as error:
            self.error = BugError.of("serial-bug", error)
            raise

    def _keep_open(self) -> None:
        while not self._stopping.is_set():
            try:
                port = self._open_port(self.options.port, self.options.baud)
            except PortError as error:
                self._failed(error)
                self._stopping.wait(AGAIN_S)
                continue
            try:
                self._begin(port)
                while not self._stopping.is_set():
                    self._turn(port)
            except PortError as error:
                self._unplugged += 1
                self._failed(error)
                self._stopping.wait(AGAIN_S)
            finally:
                self._port = None
                port.close()

    def _begin(self, port: OpenPort) -> None:
        now = self._clock.mono()
        self._unsent = b""
        self._end.opened(now)
        self._since, self.error = now, None
        self._port = port

    def _failed(self, error: PortError) -> None:
        told = as_edged(error)
        if self.error is None or self.error.code != told.code:
            self._since = self._clock.mono()
        self.error = told

    def _turn(self, port: OpenPort) -> None:
        """Read what has come and hand it on; write what is due, as much as the port takes now."""
        data = port.read(WAKE_S)
        now = self._clock.mono()
        if data:
            self._hand_on(self._end.take_in(data, now), now)
        with self._handing:
            result, self._result = self._result, None
        if result is not None:
            self._end.send(result, now)
        self._unsent = self._unsent or self._end.wake(now)
        if self._unsent:
            self._unsent = self._unsent[port.write(self._unsent) :]
            self._asked_ns = now
        if data:
            self._let_come(len(data), now)

    def _hand_on(self, came: Came, now_ns: int) -> None:
        for source in self._sources:
            payloads = (came.texts or came.lines) if source.texts else (came.blocks or came.lines)
            if payloads:
                source.put(Batch([self._topic] * len(payloads), list(payloads), self._clock.wall(), now_ns))

    def _let_come(self, size: int, now_ns: int) -> None:
        """On a line where much comes in small frames, wait before the next read: to wake for each of them costs three times as much.

        Not while an answer may be on its way, which says how late the line is, nor where so much comes that it would not be kept.
        """
        often = now_ns - self._read_ns < OFTEN_NS
        self._read_ns = now_ns
        if often and size < MUCH and now_ns - self._asked_ns > ANSWER_NS:
            self._stopping.wait(LET_COME_S)
