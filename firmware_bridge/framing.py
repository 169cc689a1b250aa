"""Whether a port speaks frames or plain lines, told by what comes.

A frame with a right CRC-32 is proof, whatever comes beside it: a boot log in text hides no frames that follow. Lines are
harder to prove. At a wrong baud rate some noise looks like a short line of text, so two whole lines in a row count
only while whole lines outnumber the ones that are none. What no look at the text can tell: a rate that is wrong by less
than a tenth makes other letters of letters.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import re

from firmware_bridge.lines import LineReader

_PATIENCE_NS = 2_000_000_000
_ROW = 2  # whole lines in a row
_ROW_BYTES = 6  # in all of them; shorter ones are also made by noise:
_ROW_OF_SHORT = 4
_MOST_BALANCE = 8
_DIGIT = re.compile(rb"[0-9]")
_ENDS = (re.compile(rb"\0"), re.compile(rb"[\r\n]"))


class Guess:
    """What one port speaks, from one opening on; make a new one when it is opened again."""

    def __init__(self) -> None:
        self._lines = LineReader()
        self._answer = ""
        self._frames = 0
        self._row = self._row_bytes = 0  # whole lines of text with nothing else between them
        self._balance = 0  # whole lines less the ones that are none, of late
        self._ends = list(_ENDS)  # of a frame, of a line: those that have not passed yet, before which may be a half one
        self._since_ns: int | None = None  # when the first byte came that belongs to nothing whole yet
        self._last_ns = 0

    def feed(self, data: bytes, frames: int, now_ns: int) -> str:
        """Take what came at `now_ns` (monotonic); `frames` is how many whole frames the port has given so far.

        Gives "framed", "lines" or, while nobody can know, "". "lines" may still become "framed", which stays.
        """
        if not data:
            return self._answer
        self._last_ns = now_ns
        if self._since_ns is None:
            self._since_ns = now_ns
        for end in self._ends[:]:
            if end.search(data):
                self._pass_half_one(end, data, now_ns)
        if frames > self._frames:
            self._frames = frames
            self._answer = "framed"
            self._since_ns = None
        if self._answer != "framed":
            self._read_lines(data)
        return self._answer

    def garbled(self, now_ns: int) -> bool:
        """Say whether bytes have come for over two seconds with neither a frame nor a line whole among them: a wrong baud rate.

        Where frames came, lines are none. It stays so in silence, as nothing has shown the contrary.
        """
        return self._since_ns is not None and self._last_ns - self._since_ns > _PATIENCE_NS

    def _pass_half_one(self, end: re.Pattern[bytes], data: bytes, now_ns: int) -> None:
        """The first end of its kind: what came before it was perhaps half of something whole, and says nothing."""
        self._ends.remove(end)
        if self._since_ns is not None and now_ns - self._since_ns <= _PATIENCE_NS:
            self._since_ns = None if end.match(data, len(data) - 1) else now_ns

    def _read_lines(self, data: bytes) -> None:
        for part in data.splitlines(keepends=True):
            before = self._noise()
            for line in self._lines.feed(part):
                self._take_line(line)
            if self._noise() > before:
                self._row = self._row_bytes = 0
                self._balance = max(self._balance - 1, -_MOST_BALANCE)

    def _take_line(self, line: bytes) -> None:
        if not _says_something(line):
            return
        self._row += 1
        self._row_bytes += len(line)
        self._balance = min(self._balance + 1, _MOST_BALANCE)
        if self._balance > 0:
            self._since_ns = None
            if self._row >= _ROW_OF_SHORT or (self._row >= _ROW and self._row_bytes >= _ROW_BYTES):
                self._answer = "lines"

    def _noise(self) -> int:
        """Give how many lines were none; the half one after opening says nothing."""
        counts = self._lines.counts
        return counts["not-text"] + counts["too-long"]


def _says_something(line: bytes) -> bool:
    """Say whether a line is a number or a word: one or two letters are often noise."""
    return len(line) > 2 or _DIGIT.search(line) is not None
