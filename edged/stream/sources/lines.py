r"""Bytes in, complete lines out, wherever the bytes were cut; and lines into groups for batches.

A line ends with `\n` or `\r\n`, which are not part of it; an empty line is no message and
gives nothing. A line longer than the limit gives one None, and its bytes are not kept. The
lines that come out are the same for every way of cutting the bytes. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_LINE = 1 << 20  # bytes with a closing `\r`; a message longer than this is no reading
GROUP_LINES = 256
GROUP_BYTES = 64 << 10

Line = bytes | None


class LineSplitter:
    """Cuts one stream of bytes into lines; holds at most `limit` bytes of an unfinished one."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._partial = bytearray()
        self._skipping = False  # inside a line whose None is out already

    def feed(self, data: bytes) -> list[Line]:
        """Take the next bytes; give the lines they complete, None for one that is too long."""
        end = data.rfind(b"\n")
        if end < 0:
            return self._hold(data)
        block = bytes(self._partial) + data[:end]
        lines: list[Line] = list(block.split(b"\n"))
        if self._skipping:
            del lines[0]
        self._partial.clear()
        self._skipping = False
        return self._clean(lines, block) + self._hold(data[end + 1 :])

    def rest(self) -> list[Line]:
        """Give the last line of a source that has ended without a newline, and start anew."""
        last = bytes(self._partial)
        self._partial.clear()
        self._skipping = False
        return self._clean([last], last)

    def _hold(self, data: bytes) -> list[Line]:
        if self._skipping:
            return []
        if len(self._partial) + len(data) <= self._limit:
            self._partial += data
            return []
        self._partial.clear()
        self._skipping = True
        return [None]

    def _clean(self, lines: list[Line], block: bytes) -> list[Line]:
        if len(block) > self._limit:
            lines = [line if line is None or len(line) <= self._limit else None for line in lines]
        if b"\r" in block:
            lines = [line and line.removesuffix(b"\r") for line in lines]
        return [line for line in lines if line != b""]


def grouped(lines: list[Line]) -> Iterator[list[Line]]:
    """Part `lines` in order into groups of at most GROUP_LINES lines and GROUP_BYTES bytes; a longer line goes alone."""
    for start in range(0, len(lines), GROUP_LINES):
        group = lines[start : start + GROUP_LINES]
        if sum(map(len, filter(None, group))) <= GROUP_BYTES:
            yield group
        else:
            yield from _by_size(group)


def _by_size(lines: list[Line]) -> Iterator[list[Line]]:
    group: list[Line] = []
    held = 0
    for line in lines:
        size = len(line or b"")
        if group and held + size > GROUP_BYTES:
            yield group
            group, held = [], 0
        group.append(line)
        held += size
    yield group
