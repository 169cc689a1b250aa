"""A candidate's model over batches that a live one has answered: the same readings in the same order, and what both said, counted.

    assemble windows → infer → judge → compare

Whatever the candidate does is counted; nothing it says goes anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import numpy as np

from edged.clock import MS, Clock
from edged.records import Batch, Readings, Rejected
from edged.stream.disagreement import Standing, Tally
from edged.stream.fitted import Fitted
from edged.stream.handover import begin_anew
from edged.stream.seen import Seen
from edged.stream.windows import Cuts


class ShadowReport(msgspec.Struct, frozen=True):
    """What was compared so far.

    windows        the candidate ran, with errors or without
    compared       verdicts that were held against a live one; the first windows of a stream may have none
    disagreed      of those, see `disagreement`
    errors         windows the candidate failed at, or gave no number for; `last_error` says why
    skipped        readings it did not see, because it was too slow
    live_ms, candidate_ms      one window in the model, on average; 0 where none was
    """

    windows: int
    compared: int
    disagreed: int
    errors: int
    skipped: int
    live_ms: float
    candidate_ms: float
    last_error: str = ""

    @property
    def disagreement(self) -> float | None:
        """Give the share of verdicts that disagreed; None where none were compared."""
        return self.disagreed / self.compared if self.compared else None

    @property
    def latency_ratio(self) -> float | None:
        """Give how many times as long as the live model the candidate takes; None where either is not known."""
        return self.candidate_ms / self.live_ms if self.live_ms and self.candidate_ms else None


class Comparison:
    """One thread shows batches to a candidate; others may ask for the report, and end it."""

    def __init__(self, fitted: Fitted, windows: int, clock: Clock) -> None:
        """`fitted` is the candidate's, with counters that nobody else has; it runs `windows` windows at most."""
        self.ended = False  # set from outside: run nothing more
        self._fitted = fitted
        self._wanted = windows
        self._clock = clock
        self._counting = threading.Lock()  # what a report gives belongs together
        self._standing = Standing()
        self._tally = Tally(fitted.inference.manifest.task)
        self._windows = self._errors = 0
        self._live_ns = self._live = 0
        self._candidate_ns = self._answered = 0
        self._last_error = ""

    @property
    def done(self) -> bool:
        """Say whether the candidate ran as many windows as it should."""
        return self._windows >= self._wanted

    def report(self, skipped: int) -> ShadowReport:
        """Give what was seen so far, beside `skipped` readings that were not."""
        with self._counting:
            return ShadowReport(
                windows=self._windows,
                compared=self._tally.compared,
                disagreed=self._tally.disagreed,
                errors=self._errors,
                skipped=skipped,
                live_ms=_mean_ms(self._live_ns, self._live),
                candidate_ms=_mean_ms(self._candidate_ns, self._answered),
                last_error=self._last_error,
            )

    def show(self, batch: Batch, readings: Readings, live: list[Seen], after_hole: bool) -> None:
        """Run the windows that a batch completes, and hold them against the live results; raises nothing.

        With `after_hole` others before it were not shown: no window may span them.
        """
        try:
            if after_hole:
                self._begin_anew()
            self._standing.take(live)
            with self._counting:
                self._live += len(live)
                self._live_ns += sum(each.infer_ns for each in live)
            self._run(batch, readings)
        except Exception as error:
            self._failed(error)

    def close(self) -> None:
        """Give the candidate's memory back."""
        self._fitted.inference.close()

    def _run(self, batch: Batch, readings: Readings) -> None:
        assembly = self._fitted.assembly
        for part, its_readings in _parts(batch, readings, assembly.streams.limit):
            for cuts in assembly.cuts(part, its_readings):
                left = self._wanted - self._windows
                self._infer(cuts if len(cuts.slots) <= left else next(cuts.parts(left)))
                if self.ended or self.done:
                    return

    def _begin_anew(self) -> None:
        assembly = self._fitted.assembly
        begin_anew(assembly)
        for slot in range(len(assembly.streams.streams)):
            assembly.timeline.reset(slot)  # a hole that we made is not to be filled
            self._fitted.inference.forget(slot)
        self._standing.clear()

    def _infer(self, cuts: Cuts) -> None:
        count = len(cuts.slots)
        began = self._clock.mono()
        try:
            scores = self._fitted.scores(cuts)
        except Exception as error:
            self._failed(error, count)
            return
        took = self._clock.mono() - began
        with self._counting:
            self._windows += count
            self._answered += count
            self._candidate_ns += took
            for i, slot in enumerate(cuts.slots.tolist()):
                stream = self._fitted.assembly.streams.streams[slot]
                end = int(cuts.end[i])
                verdict = self._fitted.inference.verdict(stream.state, scores[i], end)
                if isinstance(verdict, str):
                    self._errors += 1
                    self._last_error = verdict
                elif live := self._standing.match(stream.name, end):
                    self._tally.add(live.output, verdict.output)

    def _failed(self, error: Exception, windows: int = 0) -> None:
        with self._counting:
            self._windows += windows
            self._errors += windows or 1
            self._last_error = f"{type(error).__name__}: {error}"


def _parts(batch: Batch, readings: Readings, most: int) -> Iterator[tuple[Batch, Readings]]:
    """Split a batch so that its messages cannot name more streams at once than there is room for."""
    if len(batch.topics) <= most:
        yield batch, readings
        return
    for first in range(0, len(batch.topics), most):
        last = first + most
        at = slice(*np.searchsorted(readings.message, (first, last)).tolist())
        if at.start < at.stop:
            part = Readings(
                readings.values[at],
                None if readings.times is None else readings.times[at],
                readings.message[at] - first,
                None if readings.labels is None else readings.labels[first:last],
                [Rejected(each.message - first, each.reason) for each in readings.rejected if first <= each.message < last],
            )
            yield Batch(batch.topics[first:last], [], batch.arrival, batch.arrival_mono, again=batch.again), part


def _mean_ms(total_ns: int, count: int) -> float:
    return total_ns / count / MS if count else 0.0
