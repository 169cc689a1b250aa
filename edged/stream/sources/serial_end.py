"""The board's end of one serial line, without the port: bytes in, messages out; results in, bytes out.

What comes is told by what it is, unless the configuration says it: a whole frame is proof of
frames, two lines of text without one are lines. Nothing is sent before it is known: a sketch may
take bytes for commands. When nothing whole comes for a while, it is told anew: another firmware may be there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edged.clock import NS, Clock
from edged.stream.blocks import pack_block
from firmware_bridge.framing import Guess
from firmware_bridge.lines import LineReader
from firmware_bridge.link import BoardLink, EventCame, SamplesCame, TextCame
from firmware_bridge.messages import Hello, Result

LOST_NS = 5 * NS  # when bytes have come for so long without anything whole, what comes is told anew
STEP_NS = NS // 50  # the wall clock was set where it moved by more against the monotonic one
LOOK_NS = NS // 1000  # both clocks are read within this, or the look does not count
_SHOWN = 200  # characters of a text or event kept for people


@dataclass
class Came:
    """What some bytes gave: blocks as `edged.stream.blocks` has them, texts, lines; in their order."""

    blocks: list[bytes] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


class SerialEnd:
    """One line's state over all times it was opened. Used by one thread; what it counts may be read by any."""

    def __init__(self, framing: Literal["auto", "framed", "lines"], clock: Clock) -> None:
        self.link = BoardLink()
        self.lines_in = LineReader()
        self.framing: str = "" if framing == "auto" else framing
        self.lines = 0
        self.readings = 0
        self.bytes = 0
        self.last_event = ""
        self.last_text = ""
        self.last_bytes_ns = 0  # monotonic; 0: nothing came yet
        self._fixed = framing != "auto"
        self._clock = clock
        self._guess = Guess()
        self._frames_before = 0  # those that came before this guess
        self._broken_since: int | None = None  # when the first byte came that belongs to nothing whole yet
        self._wall_ns = clock.wall() - clock.mono()
        self._hello: tuple[Hello | None, bytes] = (None, b"")

    def opened(self, now_ns: int) -> None:
        """Begin anew with what comes after the port was opened, at monotonic `now_ns`."""
        self.link.opened(now_ns)
        self._ask_anew()

    def garbled(self, now_ns: int) -> bool:
        """Say whether bytes come and nothing whole among them."""
        return self._guess.garbled(now_ns)

    def take_in(self, data: bytes, now_ns: int) -> Came:
        """Take the bytes that came until `now_ns` (monotonic); give the messages in them. Raises nothing."""
        came = Came()
        self.bytes += len(data)
        self.last_bytes_ns = now_ns
        if self.framing != "lines" or (not self._fixed and b"\0" in data):
            self._frames(data, now_ns, came)
        lines = self.lines_in.feed(data) if self.framing != "framed" else []
        self._tell(data, now_ns, bool(lines))
        if self.framing == "lines" and lines:
            self.lines += len(lines)
            self.last_text = lines[-1][:_SHOWN].decode("utf-8", "replace")
            came.lines = lines
        return came

    def wake(self, now_ns: int) -> bytes:
        """Let time pass; give the bytes to write now. Call it a few times a second, and after `send`."""
        if self.framing != "framed":
            return b""
        self.link.wake(now_ns)
        return self.link.take()

    def send(self, result: Result, now_ns: int) -> None:
        """Hand a result over; it goes out when the firmware has room for it."""
        self.link.send(result, now_ns)

    def _frames(self, data: bytes, now_ns: int, came: Came) -> None:
        offset = self._wall_offset()
        for event in self.link.receive(data, now_ns):
            if isinstance(event, SamplesCame):
                self.readings += event.count
                came.blocks.append(
                    pack_block(self._body_of(event.hello), event.first_ns + offset, event.last_ns + offset, bytes(event.data))
                )
            elif isinstance(event, TextCame):
                self.last_text = event.text[:_SHOWN]
                came.texts.append(event.text.encode())
            elif isinstance(event, EventCame):
                self.last_event = f"{event.event.code} {event.event.value} {event.event.text}".strip()[:_SHOWN]

    def _tell(self, data: bytes, now_ns: int, whole: bool) -> None:
        """Keep to what comes, or find it out."""
        told = self._guess.feed(data, self.link.frames - self._frames_before, now_ns)
        if whole or self.link.last_ns == now_ns:
            self._broken_since = None
        elif self._broken_since is None:
            self._broken_since = now_ns
        if self._fixed:
            return
        if told and told != self.framing:
            self.framing = told
            if told == "lines":
                self.link.opened(now_ns)  # so that text is no half frame, should a frame come after all
        elif self.framing and self._broken_since is not None and now_ns - self._broken_since > LOST_NS:
            self._ask_anew()

    def _ask_anew(self) -> None:
        self._guess = Guess()
        self._frames_before = self.link.frames
        self._broken_since = None
        self.lines_in.opened()  # what comes now may be the rest of a line
        if not self._fixed:
            self.framing = ""

    def _body_of(self, hello: Hello) -> bytes:
        if self._hello[0] is not hello:
            self._hello = hello, hello.encode()
        return self._hello[1]

    def _wall_offset(self) -> int:
        """Give wall minus monotonic time; the same until the wall clock is set, so that two looks never make a step of their own."""
        seen = self._look()
        if seen is not None and abs(seen - self._wall_ns) > STEP_NS:
            self._wall_ns = seen
        return self._wall_ns

    def _look(self) -> int | None:
        before = self._clock.mono()
        wall = self._clock.wall()
        took = self._clock.mono() - before
        return wall - before - took // 2 if took <= LOOK_NS else None
