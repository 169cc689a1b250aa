"""One data path, from a batch of messages to results at the outputs.

`Pipeline.process` is the path, top to bottom:

    decode → assemble windows → infer → judge → deliver

It runs in one worker thread, a batch at a time; the batch is done when its results are safe.
Nothing in a batch can stop it: what is wrong is counted by reason, sampled to `on_rejected`,
and the rest goes on. A bug of ours costs the batch it shows in. What depends on the model is in
`fitted`, which `swap` has the worker replace between two batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edged.clock import Clock
from edged.config import schema
from edged.errors import BoardError, Cancelled, EdgedError
from edged.histogram import RecentHistogram
from edged.hold import Hold
from edged.records import MISSING, MISSING_FIELD, Batch, Outgoing, Readings, Rejected
from edged.stream.assembly import Assembly
from edged.stream.carried import Carried
from edged.stream.change import Change, Load, Waiting
from edged.stream.counters import Counters
from edged.stream.delivering import ask, deliver, deliver_answers
from edged.stream.escalation import Escalation
from edged.stream.fitted import STEP_NS, Fitted, fit
from edged.stream.handover import dump, restore
from edged.stream.inbox import Inbox, default_queue
from edged.stream.loaded import LoadedModel, Rows
from edged.stream.outputs.base import Output
from edged.stream.results import timing
from edged.stream.seen import Onlooker, Seen
from edged.stream.swap import as_edged, make
from edged.stream.windows import Cuts

STOPPED = "stopped"  # the reason by which texts are counted that were let go because the daemon stopped


@dataclass
class Sink:
    """An output and which results it wants."""

    output: Output
    when: schema.When


class Pipeline:
    """A pipeline with everything it needs, ready for batches."""

    def __init__(
        self,
        options: schema.Pipeline,
        inference: LoadedModel,
        sinks: list[Sink],
        clock: Clock,
        *,
        device: str,
        run: str,
        wake: Callable[[], None],
        on_rejected: Callable[[str, bytes, bytes | None, Rejected], None],
        escalation: Escalation | None = None,
    ) -> None:
        """`run` is unique to this run; raises what `fit` raises.

        `escalation` asks somebody what the model's cascade is not sure of.
        `on_rejected` gets pipeline, topic, payload and reason of each refused message.
        """
        self.name = options.name
        self.options = options
        self.urgency = options.class_
        self.sinks = sinks
        self.clock = clock
        self.escalation = escalation
        self.counters = Counters(RecentHistogram(clock.mono()), RecentHistogram(clock.mono()))
        self.inbox = Inbox(options.queue or default_queue(options), wake)
        self.busy_since = 0  # monotonic ns of the last step of the batch that is worked on, 0: there is none
        self.delivering = False  # that step is an output's, not the model's
        self.loading = 0  # monotonic ns since when a model is loaded while none runs, 0: none is
        self.fault: EdgedError | None = None  # why no model runs
        self.stopping = False  # set by any thread: take nothing more, and give up what takes long
        self.swaps = 0  # changes of the model that were made
        self.shadow: Onlooker | None = None  # set by any thread
        self.last_error: EdgedError | None = None
        self.last_error_mono = 0
        self._on_rejected = on_rejected
        self.deadline_ns = int(options.deadline_ms * 1_000_000)
        self._change = Waiting(options.name, wake)
        self._fit = partial(fit, options, counters=self.counters, reject=self._reject, device=device, run=run)
        self.run_on(self._fit(inference))

    def run_on(self, fitted: Fitted) -> None:
        """Run another model from the next batch on. Called by the worker, which has seen to the streams: see `swap`."""
        self.fitted = fitted
        self.fault = None
        self.fitted_since = self.clock.mono()
        self.counters.infer = RecentHistogram(self.fitted_since)
        fitted.inference.watch(self._go_on_step, partial(self.failed, count=0))
        self._at_once = fitted.at_once(STEP_NS)  # inputs in one call of the model; how long a window takes shows with the first

    def fit(self, inference: LoadedModel) -> Fitted:
        """Make what this pipeline needs to run another model; raises as `fitted.fit`."""
        return self._fit(inference, before=self.fitted)

    @property
    def inference(self) -> LoadedModel:
        """Give the model that runs, or ran last."""
        return self.fitted.inference

    @property
    def assembly(self) -> Assembly:
        """Give the streams and their unfinished windows."""
        return self.fitted.assembly

    def swap(self, inference: LoadedModel) -> Change:
        """Ask for another model, which the worker runs from between two batches on; no reading is lost. For any thread.

        The model is the pipeline's from now on: it is closed where the change fails. It stays the
        caller's where this raises what `fit` raises, or BugError(`change-under-way`).
        """
        return self._change.ask(Change(self.fit(inference)))

    def swap_over_gap(self, load: Load, back: Load) -> Change:
        """Ask for another model where there is memory for one only: the worker closes the old one, then calls `load`.

        Messages queue meanwhile. Where it raises, `back` loads the old one again; where that raises
        too, the pipeline has no model. Raises BugError(`change-under-way`). For any thread.
        """
        return self._change.ask(Change(None, load, back))

    def take(self) -> Batch | None:
        """Give the next batch that waits, or None. A change of the model that waits is made first, and answers go out."""
        self._see_to_others()
        self.busy_since = 0
        if self.stopping:
            self._let_go()
        if not self.inbox.waiting:
            return None
        self.busy_since = self.clock.mono()  # before it leaves the queue: at no time it is in neither
        batch = self.inbox.take()
        if batch is None:
            self.busy_since = 0
        return batch

    def process(self, batch: Batch) -> None:
        """Work one batch off, to its results' delivery."""
        began = self.busy_since = self.clock.mono()
        hold = Hold(batch.done) if batch.done else None
        left = len(batch.payloads)
        try:
            for part in batch.parts(self.fitted.most):
                self._work_off(part, began, hold)
                left -= len(part.payloads)
                if self.fitted.of_texts:
                    self._see_to_others()  # a batch of texts may take minutes
        except Cancelled:
            if hold:
                hold.take()  # for good: what was not worked off comes again after a restart
            else:
                self.counters.drop(STOPPED, left)
        finally:
            self.busy_since = 0
            if hold:
                hold.release()

    def failed(self, error: Exception, count: int) -> None:
        """Count what an error cost, and keep it for whoever looks."""
        self.last_error = as_edged(error)
        self.last_error_mono = self.clock.mono()
        self.counters.drop(self.last_error.code, count)

    def carry(self) -> Carried:
        """Give what another run needs to go on with unfinished windows; while no batch is worked on."""
        return dump(self.fitted.assembly, self.fitted.identity)

    def go_on(self, carried: Carried) -> None:
        """Go on with what another run left, before the first batch; readings that do not fit any more are counted."""
        for reason, count in restore(self.fitted.assembly, carried, self.fitted.identity).dropped.items():
            self.counters.drop(reason, count)

    def close(self) -> None:
        """Close outputs and model, after the worker has stopped."""
        for sink in self.sinks:
            sink.output.close()
        self._change.cancel()
        if self.fault is None:
            self.fitted.inference.close()

    def infer(self, cuts: Cuts) -> None:
        """Take windows that are due without a message, at a change of the model."""
        now = self.clock.mono()
        self._infer(cuts, now, now, None, None)

    def _let_go(self) -> None:
        """Count what waits and that no broker keeps for the next start."""
        while (batch := self.inbox.take()) is not None:
            if not batch.done:
                self.counters.drop(STOPPED, len(batch.payloads))

    def _see_to_others(self) -> None:
        """Make the change of the model that waits, and put out what somebody answered."""
        self._change.make(partial(make, self))
        if self.escalation is not None:
            deliver_answers(self, self.escalation)

    def _work_off(self, batch: Batch, began: int, hold: Hold | None) -> None:
        """Work one part of a batch off; what fails costs this part. Raises Cancelled where the pipeline is to stop."""
        try:
            if self.stopping:
                raise Cancelled
            if self.fault is not None:
                self.failed(self.fault, len(batch.payloads))
                return
            self._follow_path(batch, began, hold)
        except Cancelled:
            raise
        except Exception as error:
            self.failed(error, len(batch.payloads))

    def _follow_path(self, batch: Batch, began: int, hold: Hold | None) -> None:
        fitted, shadow = self.fitted, self.shadow
        seen: list[Seen] | None = None if shadow is None else []
        decoded = fitted.decoder.decode(batch.payloads, batch.topics)
        self.counters.messages += len(batch.payloads)
        for rejected in decoded.rejected:
            self._reject(batch, rejected)
        if len(decoded):
            self.counters.readings += len(decoded)
            for cuts in fitted.assembly.cuts(batch, decoded):
                self._infer(cuts, batch.arrival_mono, began, hold, seen)
            if shadow is not None and seen is not None and isinstance(decoded, Readings):
                shadow.see(batch, decoded, seen)

    def _infer(self, cuts: Cuts, arrival: int, began: int, hold: Hold | None, seen: list[Seen] | None) -> None:
        for step in (cuts,) if len(cuts.slots) <= self._at_once else cuts.parts(self._at_once):
            self._step(step, arrival, began, hold, seen)

    def _step(self, cuts: Cuts, arrival: int, began: int, hold: Hold | None, seen: list[Seen] | None) -> None:
        fitted, counters, count = self.fitted, self.counters, len(cuts.slots)
        start = self.busy_since = self.clock.mono()
        rows = self._rows(cuts)
        if rows is None:
            return
        ended = self.clock.mono()
        each = (ended - start) // count
        self._at_once = fitted.at_once(each)
        counters.infer.record_many(each / 1e6, count)
        total = ended - arrival
        took = timing(began - arrival, each, total)
        outgoing: list[Outgoing] = []
        places: list[int] = []
        for i, slot in enumerate(cuts.slots.tolist()):
            stream = fitted.assembly.streams.streams[slot]
            end = int(cuts.end[i])
            verdict = fitted.verdict(stream, cuts, i, rows[i])
            if isinstance(verdict, str):
                counters.drop(verdict)
                counters.failed_windows += 1
                continue
            timed = fitted.assembly.event_time
            made = fitted.results.make(stream, int(cuts.start[i]), end, timed, verdict.output, verdict.changed, verdict.alarm, took)
            outgoing.append(made)
            places.append(i)
            if seen is not None:
                seen.append(Seen(stream.name, end, verdict.output, each))
        if outgoing:
            deliver(self, outgoing, total, hold)
            if self.escalation is not None:
                ask(self.escalation, fitted, cuts, outgoing, places)

    def _rows(self, cuts: Cuts) -> Rows | None:
        """Run inputs through the model; None where its process failed over texts, which costs these and no others."""
        fitted, counters, count = self.fitted, self.counters, len(cuts.slots)
        counters.windows += count
        try:
            return fitted.scores(cuts)
        except Exception as error:
            counters.failed_windows += count
            if not (fitted.of_texts and isinstance(error, BoardError)):
                raise
            self.failed(error, count)
            return None

    def _go_on_step(self) -> None:
        """See that the model is at work still; raise Cancelled where it is to stop."""
        if self.stopping:
            raise Cancelled
        if self.busy_since:
            self.busy_since = self.clock.mono()

    def _reject(self, batch: Batch, rejected: Rejected) -> None:
        named = rejected.reason in (MISSING, MISSING_FIELD) and rejected.detail
        self.counters.reject(f"{rejected.reason} {rejected.detail}" if named else rejected.reason)
        self._on_rejected(self.name, batch.topics[rejected.message], batch.payloads[rejected.message], rejected)
