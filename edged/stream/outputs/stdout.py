"""Write results to standard output, one a line, each batch at once.

It blocks while the reader is slow. When the reader has gone, as in `edged run | head`, the
output is `finished`: the pipeline may end, and later results are counted as dropped.
"""

from __future__ import annotations

from edged.hold import Hold
from edged.records import Outgoing
from edged.stream.outputs.base import Encode
from edged.stream.outputs.writing import Written, reason_of, write_lines

GONE = "reader-gone"


class StdoutOutput:
    """File descriptor `fd`, which stays open; an `outputs.base.Output`."""

    def __init__(self, encode: Encode, fd: int = 1) -> None:
        self.dropped: dict[str, int] = {}
        self.failing: str | None = None
        self.finished = False
        self._encode = encode
        self._fd = fd
        self._in_line = False  # a full disk behind a redirection cut a line

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        """Write the results; those that cannot be written are in `dropped`."""
        if self.finished:
            self._drop(GONE, len(outgoing))
            return
        lines = [self._encode(each.result) + b"\n" for each in outgoing]
        if self._in_line and lines:
            lines[0] = b"\n" + lines[0]
        written = write_lines(self._fd, lines)
        self._in_line = bool(written.over) or (self._in_line and not written.size)
        self.failing = None
        if written.error:
            self._fail(written, len(lines))

    def close(self) -> None:
        """Do nothing: nothing is held back, and the descriptor is the process's own."""

    def _fail(self, written: Written, lines: int) -> None:
        assert written.error is not None
        reason, text = reason_of(written.error)
        self.failing = f"standard output cannot be written: {text}"
        self.finished = reason == GONE
        self._drop(reason, lines - written.lines)

    def _drop(self, reason: str, count: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count
