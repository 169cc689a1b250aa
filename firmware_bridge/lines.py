r"""Bytes of a serial line into lines of text.

A line ends with "\n", "\r" or both. What is no whole line of text is dropped and counted in `counts`:

partial    the first line after the port was opened: its beginning was said before anyone listened
too-long   more than MOST_BYTES
not-text   control characters but tab, or not UTF-8

Empty lines are nothing. Pure: no clock, no I/O.
"""

from __future__ import annotations

import re

MOST_BYTES = 4096
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|\xc2[\x80-\x9f]")


class LineReader:
    """One port's lines. Holds at most MOST_BYTES of a line that has not ended."""

    def __init__(self) -> None:
        self.counts = {"partial": 0, "too-long": 0, "not-text": 0}
        self._rest = b""
        self._first = True  # the line that comes now may lack its beginning
        self._over = False  # the line that comes now is too long already

    def opened(self) -> None:
        """Say that the port was opened again: forget what came of a line, and drop the first."""
        self._rest = b""
        self._first = True
        self._over = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they come, cut anywhere; give the lines that are whole now, without their ends."""
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")
        whole = []
        for piece in ended:
            line = self._rest + piece if not self._over else b""
            self._rest = b""
            if self._fits(line):
                whole.append(line)
            self._first = self._over = False
        self._hold(rest)
        return whole

    def _fits(self, line: bytes) -> bool:
        """Say whether a line that ended is one; count it if not."""
        if not line and not self._over:
            return False
        if self._first:
            self.counts["partial"] += 1
        elif self._over or len(line) > MOST_BYTES:
            self.counts["too-long"] += 1
        elif not is_text(line):
            self.counts["not-text"] += 1
        else:
            return True
        return False

    def _hold(self, rest: bytes) -> None:
        if self._over:
            return
        self._rest += rest
        if len(self._rest) > MOST_BYTES:
            self._rest = b""
            self._over = True


def is_text(line: bytes) -> bool:
    """Say whether a line, without its end, is UTF-8 without control characters but tab."""
    if _CONTROL.search(line):
        return False
    if line.isascii():
        return True
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
