"""Lines of standard input, each one message, until its end.

Works for a pipe, a terminal, a redirected file and an inherited socket. Its topic is `stdin`.
"""

from __future__ import annotations

import os
import select

from edged.clock import Clock
from edged.stream.sources.lines import LineSplitter
from edged.stream.sources.reader import LineReader

TOPIC = b"stdin"
_BLOCK = 64 << 10
_POLL_MS = 250  # how long a stop may go unseen


class StdinSource(LineReader):
    """Reads file descriptor `fd`; the descriptor stays open."""

    def __init__(self, clock: Clock, fd: int = 0) -> None:
        super().__init__("stdin", clock)
        self._fd = fd

    def _read(self) -> None:
        splitter = LineSplitter()
        try:
            while (data := self._next()) != b"":
                if data:
                    self._emit(TOPIC, splitter.feed(data))
                if self._stopping.is_set():
                    return
        except OSError as error:
            self.error = f"standard input cannot be read: {error.strerror}"
        self._emit(TOPIC, splitter.rest())

    def _next(self) -> bytes | None:
        """Give what has come, None when nothing has for a while, b"" at the end."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(_POLL_MS):
            return None
        try:
            return os.read(self._fd, _BLOCK)
        except BlockingIOError:  # another process shares the descriptor, and was quicker
            return None
