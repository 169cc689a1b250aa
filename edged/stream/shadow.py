"""A candidate's model on the live windows of one pipeline, in a thread of its own: what it says is counted, and nothing is delivered.

    the worker:  see → a bounded queue        the shadow's thread:  run and compare (`comparison`)

The worker never waits, and does not even wake the thread, which looks now and then. What does
not fit into the queue is skipped, until the queue has been worked off: so a slow candidate sees
whole stretches, begun anew as after a gap, and no window spans what it did not see. A candidate
that hangs keeps its thread and its model, and no more.

Readings come as the live decoder made them: times that it spaced by the live release's rate stay so.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from edged.clock import Clock
from edged.config import schema
from edged.histogram import RecentHistogram
from edged.records import Batch, Readings, Rejected
from edged.stream.comparison import Comparison, ShadowReport
from edged.stream.counters import Counters
from edged.stream.fitted import Fitted, fit
from edged.stream.loaded import LoadedModel
from edged.stream.seen import Seen

# Numbers in readings and outputs that wait for the candidate, at most 32 bytes each: 8 MiB. One batch larger than that is taken alone.
QUEUED_NUMBERS = 1 << 18
_AROUND = 32  # what a message takes beside its readings, and a live result beside its output, in the same unit
LOOK_S = 0.05  # how often the thread looks for batches; to be woken for each would cost the worker more than all the rest
STOP_S = 2.0  # how long a stop waits for a candidate that is in the middle of its work


@dataclass(slots=True)
class _Shown:
    """One batch on its way to the thread, without its payloads, which may be large. `after_hole`: others before it were skipped."""

    topics: list[bytes]
    arrival: int
    again: bool
    readings: Readings
    live: list[Seen]
    numbers: int
    after_hole: bool


class Shadow:
    """Runs a candidate beside one pipeline until it has seen enough. The worker calls `see`, any other thread the rest."""

    def __init__(self, fitted: Fitted, windows: int, clock: Clock) -> None:
        """Begin, for `windows` windows. `fitted` is the candidate's, with counters that nobody else has; its model is closed at the end."""
        self._comparison = Comparison(fitted, windows, clock)
        self._queue: deque[_Shown] = deque()
        self._stopping = threading.Event()
        self._taken = 0  # numbers: written by the worker only
        self._finished = 0  # and by the thread only
        self._skipping = False
        self._skipped = 0
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def see(self, batch: Batch, readings: Readings, live: list[Seen]) -> None:
        """Take a batch that the live model answered with `live`, or skip it."""
        if self._comparison.ended:
            return
        numbers = readings.values.size + _AROUND * len(batch.topics) + (_numbers(live[0]) * len(live) if live else 0)
        held = self._taken - self._finished
        if held and (self._skipping or held + numbers > QUEUED_NUMBERS):
            self._skipping = True
            self._skipped += len(readings.values)
            return
        self._taken += numbers
        self._queue.append(_Shown(batch.topics, batch.arrival, batch.again, readings, live, numbers, self._skipping))
        self._skipping = False

    @property
    def done(self) -> bool:
        """Say whether the candidate ran as many windows as it should."""
        return self._comparison.done

    def report(self) -> ShadowReport:
        """Give what was seen so far."""
        return self._comparison.report(self._skipped)

    def stop(self) -> bool:
        """End the thread, which closes the candidate; False where that hangs: it is closed when it comes back, if ever."""
        self._comparison.ended = True
        self._stopping.set()
        self._thread.join(STOP_S)
        self._queue.clear()  # what waits need not wait with one that hangs
        return not self._thread.is_alive()

    def _run(self) -> None:
        # As in the worker: what comes of hostile readings is judged by value, not by warning.
        np.seterr(all="ignore")
        comparison = self._comparison
        while not (comparison.ended or comparison.done):
            if not self._queue:
                self._stopping.wait(LOOK_S)
                continue
            shown = self._queue.popleft()
            batch = Batch(shown.topics, [], shown.arrival, 0, again=shown.again)
            comparison.show(batch, shown.readings, shown.live, shown.after_hole)
            self._finished += shown.numbers
        comparison.ended = True
        self._queue.clear()
        comparison.close()


def shadow_of(options: schema.Pipeline, inference: LoadedModel, windows: int, clock: Clock) -> Shadow:
    """Begin to run `inference` beside a pipeline of `options`; raises as `fit`, and `inference` is then still the caller's."""
    counters = Counters(RecentHistogram(clock.mono()), RecentHistogram(clock.mono()))
    return Shadow(fit(options, inference, counters, _told_already, device="", run=""), windows, clock)


def _told_already(batch: Batch, rejected: Rejected) -> None:
    """Say nothing: what is wrong with a message, the live pipeline has told."""


def _numbers(live: Seen) -> int:
    return _AROUND + sum(len(each) for each in live.output.values() if isinstance(each, (list, dict)))
