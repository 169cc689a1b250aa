"""The one thread of a source that reads lines: start, stop, and what it shows of itself.

A batch goes out by `deliver`, which blocks while the pipeline's queue is full: nothing is
read meanwhile, so a pipe's writer waits too. `deliver` must return once the pipeline closes;
a return value of False says that it has closed, and the source ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from edged.clock import Clock
from edged.records import Batch
from edged.stream.sources.lines import Line, grouped

STOP_S = 2.0  # how long `stop` waits for the thread; it may sit in a `deliver` that does not return

Deliver = Callable[[Batch], bool | None]


class Source(Protocol):
    """Where a pipeline's messages come from.

    `finished` is True when nothing more will come; `error` says in words for people what is
    wrong now, and is empty when nothing is.
    """

    finished: bool
    error: str

    def start(self, deliver: Deliver) -> None:
        """Begin; `deliver` is called from a thread of the source."""

    def stop(self) -> None:
        """Deliver nothing more. May be called before `start`, and again."""


class LineReader:
    """A Source whose messages are lines, read by a daemon thread called `source-<name>`; subclasses say how in `_read`."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.finished = False
        self.error = ""
        self._clock = clock
        self._deliver: Deliver | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source-{name}", daemon=True)

    def start(self, deliver: Deliver) -> None:
        """Begin to read; `deliver` gets each batch, in this source's thread."""
        self._deliver = deliver
        self._thread.start()

    def stop(self) -> None:
        """Read no further, and wait up to STOP_S seconds until the thread has ended."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            self.error = f"stopped by a bug: {error!r}"
            raise
        finally:
            self.finished = True

    def _read(self) -> None:
        """Read to the end, or until `_stopping` is set."""
        raise NotImplementedError

    def _emit(self, topic: bytes, lines: list[Line]) -> None:
        """Deliver `lines`, all that arrived now, as batches; stop when the pipeline has closed."""
        assert self._deliver is not None
        wall, mono = self._clock.wall(), self._clock.mono()
        for group in grouped(lines):
            if self._stopping.is_set():
                return
            if self._deliver(Batch([topic] * len(group), group, wall, mono)) is False:
                self._stopping.set()
