"""Whether a port speaks frames or plain lines, told by what comes.

A frame with a right CRC-32 is proof, whatever else comes: a boot log in text does not hide it. Two whole lines
of text in a row, and no frame, are plain lines. Pure: no clock, no I/O.
"""

from __future__ import annotations

import re

from firmware_bridge.lines import LineReader

_PATIENCE_NS = 2_000_000_000
_ENOUGH = 2
_END = re.compile(rb"[\0\r\n]")


class Guess:
    """What one port speaks, from its opening on; make a new one when it is opened again."""

    def __init__(self) -> None:
        self._lines = LineReader()
        self._answer = ""
        self._frames = 0
        self._row = 0  # whole lines of text, with nothing else between them
        self._begun = False  # the first end of a line or frame has passed: what came before it was a half one
        self._since = 0  # when the first byte came that is not part of something whole; 0: there is none
        self._last = 0

    def feed(self, data: bytes, frames: int, now_ns: int) -> str:
        """Take what came at `now_ns` (monotonic); `frames` is how many whole frames the port has given so far.

        Gives "framed", "lines" or, while nobody can know, "". From "lines" it may go to "framed", never back.
        """
        if not data:
            return self._answer
        self._last = now_ns
        self._since = self._since or now_ns
        if not self._begun and _END.search(data):
            self._begun = True
            self._since = now_ns
        if frames > self._frames:
            self._frames = frames
            self._answer = "framed"
            self._since = 0
        if self._answer != "framed":
            self._count(data)
        return self._answer

    def _count(self, data: bytes) -> None:
        before = sum(self._lines.counts.values()) - self._lines.counts["partial"]
        whole = self._lines.feed(data)
        if sum(self._lines.counts.values()) - self._lines.counts["partial"] > before:
            self._row = 0
            return
        if whole:
            self._row += len(whole)
            self._since = 0
        if self._row >= _ENOUGH:
            self._answer = "lines"

    def garbled(self, now_ns: int) -> bool:
        """Say whether bytes have come for over two seconds and nothing among them was whole: a wrong baud rate."""
        return self._since != 0 and self._last - self._since > _PATIENCE_NS
