"""Readings from a serial line, for one pipeline; several pipelines may read one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edged.records import Batch
from edged.stream.sources.reader import Deliver

if TYPE_CHECKING:
    from edged.stream.sources.serial_line import SerialLine


class SerialSource:
    """One pipeline's part in a line. `texts`: it wants TEXT frames and lines, else readings and lines."""

    finished = False
    error = ""  # what is wrong is the line's, which several pipelines may read: `line.state()`

    def __init__(self, line: SerialLine, texts: bool) -> None:
        self.line = line
        self.texts = texts
        self._deliver: Deliver | None = None

    def start(self, deliver: Deliver) -> None:
        """Let messages through from now on."""
        self._deliver = deliver
        self.line.start()

    def stop(self) -> None:
        """Let nothing more through; the line is closed with its last source."""
        self._deliver = None
        self.line.leave(self)

    def put(self, batch: Batch) -> None:
        """Pass a batch on; called in the line's thread."""
        deliver = self._deliver  # another thread may stop us meanwhile
        if deliver is not None:
            deliver(batch)
