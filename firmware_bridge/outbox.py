"""Frames that wait to go down the line: numbered, and bounded when nobody takes them."""

from __future__ import annotations

from collections import deque

from firmware_bridge import frames

MOST_BYTES = 4096
_REMEMBERED = 16


class Outbox:
    """Makes the board's frames; `session` goes into each, and `dropped` counts those that found no room."""

    def __init__(self) -> None:
        self.session = 0
        self.dropped = 0
        self._sequence = 0
        self._lines: list[bytes] = []
        self._size = 0
        self._sent: deque[frames.Frame] = deque(maxlen=_REMEMBERED)

    def put(self, type_: int, body: bytes) -> int:
        """Add a frame; give its sequence. Without room for it it is dropped, and its sequence counts nevertheless."""
        sequence = self._sequence
        self._sequence = (sequence + 1) % 2**16
        line = frames.encode(type_, self.session, sequence, body)
        if self._size + len(line) > MOST_BYTES:
            self.dropped += 1
            return sequence
        self._lines.append(line)
        self._size += len(line)
        self._sent.append(frames.Frame(type_, self.session, sequence, body))
        return sequence

    def take(self) -> bytes:
        """Give the bytes to write now."""
        data = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        return data

    def begin(self) -> None:
        """Forget what waits, which was for a line that is closed, and end with a zero what noise has begun on the new one."""
        self._lines = [b"\0"]
        self._size = 1

    def has_sent(self, frame: frames.Frame) -> bool:
        """Say whether `frame` is one of the last that went down: a line that echoes gives it back."""
        return frame in self._sent
