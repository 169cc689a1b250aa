"""The threads that run pipelines: one a CPU that may be used, each pipeline on one of them.

So the order of a pipeline is kept without locks. A worker takes one batch at a time from the
most urgent pipeline that has one: `safety` before `normal` before `background`. Pipelines of
one class take turns.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

import numpy as np

from edged.records import Batch

_URGENCY = {"safety": 0, "normal": 1, "background": 2}


class Work(Protocol):
    """What a worker runs: a pipeline."""

    @property
    def urgency(self) -> str:
        """Give the class: safety, normal or background."""

    def take(self) -> Batch | None:
        """Give the next batch, or None; also called where no batch came but `wake` was. Must not raise."""

    def process(self, batch: Batch) -> None:
        """Work one batch off; must not raise."""


class Worker:
    """A thread and its pipelines."""

    def __init__(self, name: str) -> None:
        self._work: list[Work] = []
        self._added: deque[Work] = deque()  # on their way from another thread into the list above
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def add(self, work: Work) -> None:
        """Take a pipeline, behind the others of its class; also while it runs."""
        self._added.append(work)
        self._wake.set()

    @property
    def load(self) -> int:
        """Count the pipelines of this worker."""
        return len(self._work) + len(self._added)

    @property
    def alive(self) -> bool:
        """Say whether its thread runs."""
        return self._thread.is_alive()

    @property
    def ended(self) -> bool:
        """Say whether its thread ran, and does no longer."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def wake(self) -> None:
        """Say that a pipeline has a batch."""
        self._wake.set()

    def start(self) -> None:
        """Begin to run, if it does not yet."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self, deadline_s: float) -> bool:
        """Work off what waits, up to the deadline; False when something was left."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        # Hostile readings overflow in preprocessing; what comes of it is judged by value, not by warning.
        np.seterr(all="ignore")
        while True:
            self._wake.clear()
            while self._one():
                pass
            if self._stopping:
                return
            self._wake.wait()

    def _line_up(self, work: Work) -> None:
        self._work.append(work)
        self._work.sort(key=lambda each: _URGENCY[each.urgency])

    def _one(self) -> bool:
        while self._added:
            self._line_up(self._added.popleft())
        for work in self._work:
            batch = work.take()
            if batch is not None:
                work.process(batch)
                if len(self._work) > 1:
                    self._work.remove(work)
                    self._line_up(work)
                return True
        return False
