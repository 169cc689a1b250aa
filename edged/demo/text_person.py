"""The person of the demo of texts: knows the right answer, needs a moment for it, and gets to every second question only."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

from edged.clock import NS, Clock

GETS_TO = 2  # every second question
THINKS_S = 2.0


class Person:
    """Answers questions in a thread of its own, in the order they came."""

    def __init__(self, thinks_s: float, clock: Clock, answer: Callable[[bytes], None]) -> None:
        """Prepare. `answer` sends one."""
        self._thinks_ns = int(thinks_s * NS)
        self._clock = clock
        self._answer = answer
        self._seen = 0
        self._open: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="demo-person", daemon=True)

    @property
    def takes(self) -> int:
        """Count the questions so far that are answered, or will be."""
        return self._seen // GETS_TO

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being thought about is not answered."""
        self._stop.set()
        self._open.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def ask(self, answer: bytes) -> None:
        """Put a question, whose right answer is this, before the person."""
        self._seen += 1
        if self._seen % GETS_TO == 0:
            self._open.put((self._clock.mono() + self._thinks_ns, answer))

    def _run(self) -> None:
        while (taken := self._open.get()) is not None:
            due, answer = taken
            if self._stop.wait(max(0.0, (due - self._clock.mono()) / NS)):
                return
            self._answer(answer)
