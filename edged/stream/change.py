"""The change of a pipeline's model, as the one who asked for it sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edged.errors import BugError, Cancelled, EdgedError
from edged.stream.fitted import Fitted
from edged.stream.loaded import LoadedModel

Load = Callable[[], LoadedModel]


class Change:
    """Asked for by any thread, made by the pipeline's worker between two batches.

    error    why it was not made; None while it is under way, and where it was
    gap_ns   how long nothing was served for it, in nanoseconds
    waited   messages that had queued up when the gap ended
    """

    def __init__(self, fitted: Fitted | None, load: Load | None = None, back: Load | None = None) -> None:
        """`fitted` is what shall run, or else `load` loads it once the old one is closed, and `back` the old one again."""
        self.fitted = fitted
        self.load = load
        self.back = back
        self.error: EdgedError | None = None
        self.gap_ns = 0
        self.waited = 0
        self._lock = threading.Lock()
        self._begun = False
        self._over = threading.Event()

    @property
    def over(self) -> bool:
        """Say whether it was made, failed or was cancelled."""
        return self._over.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is over, at most so many seconds; say whether it is."""
        return self._over.wait(timeout_s)

    def cancel(self) -> bool:
        """Cancel it where it was not taken up yet, and close its model; say whether it will never be made."""
        if not self.begin():
            return False
        if self.fitted is not None:
            self.fitted.inference.close()
        self.error = Cancelled("the change of the model was cancelled")
        self.end()
        return True

    def begin(self) -> bool:
        """Take it up; False where that was done before."""
        with self._lock:
            first, self._begun = not self._begun, True
        return first

    def end(self) -> None:
        """Tell who waits that it is over."""
        self._over.set()


class Waiting:
    """The one change of a pipeline that was asked for and not made yet, if any."""

    def __init__(self, pipeline: str, wake: Callable[[], None]) -> None:
        self._pipeline = pipeline
        self._wake = wake
        self._change: Change | None = None
        self._asking = threading.Lock()

    def ask(self, change: Change) -> Change:
        """Have the worker make a change; BugError(`change-under-way`) where another one is not over. For any thread."""
        with self._asking:
            if self._change is not None and not self._change.over:
                text = f"pipeline {self._pipeline}: another change of the model is under way"
                raise BugError("change-under-way", text, "wait for it, or cancel it")
            self._change = change
        self._wake()
        return change

    def make(self, how: Callable[[Change], None]) -> None:
        """Make the change that waits, where there is one; `how` raises nothing. For the worker."""
        change = self._change
        if change is None:
            return
        mine = change.begin()
        if mine:
            how(change)
        with self._asking:
            if self._change is change:  # one that was cancelled may have been followed by another
                self._change = None
        if mine:
            change.end()

    def cancel(self) -> None:
        """Cancel what waits, after the worker has stopped."""
        if self._change is not None:
            self._change.cancel()
