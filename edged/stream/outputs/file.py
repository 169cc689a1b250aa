"""Append results to a file, one a line, through crashes, rotation and full disks.

One `write` a batch with O_APPEND. The file never holds half a line followed by a line: what
a full disk cut off is taken back at once, and what a crash cut off is ended with a newline
when the file is next opened (an empty line may come of it, where another output is just then
writing to the same file). Whether the file is still the one at its name is looked up before
each batch (a microsecond), so that nothing goes to a file that was removed. Whatever fails is
counted, and tried again with the next batch.
"""

from __future__ import annotations

import os
from pathlib import Path

from edged.hold import Hold
from edged.records import Outgoing
from edged.stream.outputs.base import Encode
from edged.stream.outputs.writing import Written, reason_of, write_lines

# O_NONBLOCK: the open of a FIFO that nobody reads fails instead of waiting.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC


class FileOutput:
    """The file at `path`, one line a result; an `outputs.base.Output`."""

    def __init__(self, path: Path, encode: Encode) -> None:
        self.dropped: dict[str, int] = {}
        self.failing: str | None = None
        self.finished = False
        self._path = path
        self._encode = encode
        self._fd = -1

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        """Append the results; those that cannot be written are in `dropped`."""
        lines = [self._encode(each.result) + b"\n" for each in outgoing]
        try:
            self._open_at_name()
            written = self._append(lines)
        except OSError as error:
            written = Written(0, 0, 0, error)
        self.failing = None
        if written.error:
            self.close()  # so that the next batch opens the file anew, and looks at its end
            reason, text = reason_of(written.error)
            self.failing = f"{self._path} cannot be written: {text}"
            self.dropped[reason] = self.dropped.get(reason, 0) + len(lines) - written.lines

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _append(self, lines: list[bytes]) -> Written:
        before = os.fstat(self._fd).st_size
        written = write_lines(self._fd, lines)
        # Bytes that another process appended meanwhile are not ours to cut off.
        if written.over and os.fstat(self._fd).st_size == before + written.size + written.over:
            try:
                os.ftruncate(self._fd, before + written.size)
            except OSError:
                pass  # an append-only file: the next open ends the half line
        return written

    def _open_at_name(self) -> None:
        if self._fd >= 0 and not self._is_at_name():
            self.close()
        if self._fd < 0:
            self._fd = os.open(self._path, _FLAGS, 0o644)
            if os.fstat(self._fd).st_size and not self._ends_with_newline():
                os.write(self._fd, b"\n")

    def _is_at_name(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except OSError:
            return False

    def _ends_with_newline(self) -> bool:
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:
            return False  # not ours to read: an empty line does less harm than a broken one
