"""One data path, from a batch of messages to results at the outputs.

`Pipeline.process` is the path, top to bottom:

    decode → assemble windows → infer → judge → deliver

It runs in one worker thread, a batch at a time; the batch is done when its results are safe. Nothing in a batch can stop it: what is
wrong is counted by reason, sampled to `on_rejected`, and the rest goes on. A bug of ours
costs the batch it shows in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edged.clock import NS, Clock
from edged.config import schema
from edged.errors import BugError, EdgedError
from edged.histogram import RecentHistogram
from edged.hold import Hold
from edged.records import MISSING, Batch, Outgoing, Rejected
from edged.stream.assembly import CUT_WINDOWS, Assembly
from edged.stream.carried import Carried, Identity, identity_of
from edged.stream.counters import Counters
from edged.stream.decoders.choose import Decoder
from edged.stream.handover import dump, restore
from edged.stream.inbox import Inbox
from edged.stream.inference import Inference
from edged.stream.outputs.base import Output, wanted
from edged.stream.postprocess import MODEL_NAN
from edged.stream.results import ResultMaker, timing
from edged.stream.streams import Labels
from edged.stream.windows import Cuts

STEP_NS = NS // 2  # what one call of the model should take at most, so that a slow one is not taken for one that hangs


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
        inference: Inference,
        decoder: Decoder,
        labels_of: Callable[[bytes], Labels | None],
        sinks: list[Sink],
        clock: Clock,
        *,
        device: str,
        run: str,
        wake: Callable[[], None],
        on_rejected: Callable[[str, bytes, bytes | None, Rejected], None],
    ) -> None:
        """`labels_of` reads a topic; `run` is unique to this run.

        `on_rejected` gets pipeline, topic, payload and reason of each refused message.
        """
        given = inference.manifest.input
        event_time = has_event_time(options.decoder)
        self.name = options.name
        self.options = options
        self.urgency = options.class_
        self.inference = inference
        self.sinks = sinks
        self.counters = Counters(RecentHistogram(clock.mono()))
        self.inbox = Inbox(options.queue or _default_queue(options), wake)
        self.busy_since = 0  # monotonic ns of the last step of the batch that is worked on, 0: there is none
        self.last_error: EdgedError | None = None
        self.last_error_mono = 0
        self.assembly = Assembly(
            given, event_time, options.max_streams, labels_of, inference.new_state, inference.forget, self.counters, self._reject
        )
        self._decoder = decoder
        self._clock = clock
        self._on_rejected = on_rejected
        self._results = ResultMaker(device, options.name, inference.model, given.samples, event_time, run)
        self._at_once = 1  # windows in one call of the model; how long one takes shows with the first
        self._deadline_ns = int(options.deadline_ms * 1_000_000)

    def take(self) -> Batch | None:
        """Give the next batch that waits, or None."""
        if not self.inbox.waiting:
            return None
        self.busy_since = self._clock.mono()  # before it leaves the queue: at no time it is in neither
        batch = self.inbox.take()
        if batch is None:
            self.busy_since = 0
        return batch

    def process(self, batch: Batch) -> None:
        """Work one batch off, to its results' delivery."""
        began = self.busy_since = self._clock.mono()
        counters = self.counters
        hold = Hold(batch.done) if batch.done else None
        try:
            for part in _parts(batch, self.assembly.streams.limit):
                self._work_off(part, began, hold)
        except Exception as error:
            self.last_error = error if isinstance(error, EdgedError) else BugError.of("pipeline-bug", error)
            self.last_error_mono = self._clock.mono()
            counters.drop(self.last_error.code, len(batch.payloads))
        finally:
            self.busy_since = 0
            if hold:
                hold.release()

    def carry(self) -> Carried:
        """Give what another run needs to go on with unfinished windows; while no batch is worked on."""
        return dump(self.assembly, self._identity())

    def go_on(self, carried: Carried) -> None:
        """Go on with what another run left, before the first batch; readings that do not fit any more are counted."""
        for reason, count in restore(self.assembly, carried, self._identity()).dropped.items():
            self.counters.drop(reason, count)

    def close(self) -> None:
        """Close outputs and model, after the worker has stopped."""
        for sink in self.sinks:
            sink.output.close()
        self.inference.close()

    def _identity(self) -> Identity:
        return identity_of(self.options, self.inference.manifest, self.inference.values)

    def _work_off(self, batch: Batch, began: int, hold: Hold | None) -> None:
        readings = self._decoder.decode(batch.payloads, batch.topics)
        self.counters.messages += len(batch.payloads)
        for rejected in readings.rejected:
            self._reject(batch, rejected)
        if len(readings.values):
            self.counters.readings += len(readings.values)
            for cuts in self.assembly.cuts(batch, readings):
                for step in (cuts,) if len(cuts.slots) <= self._at_once else cuts.parts(self._at_once):
                    self._infer(step, batch, began, hold)

    def _infer(self, cuts: Cuts, batch: Batch, began: int, hold: Hold | None) -> None:
        count = len(cuts.windows)
        self.counters.windows += count
        start = self.busy_since = self._clock.mono()
        scores = self.inference.scores(cuts.windows, cuts.slots)
        ended = self._clock.mono()
        self._at_once = max(1, min(CUT_WINDOWS, STEP_NS * count // max(1, ended - start)))
        total = ended - batch.arrival_mono
        took = timing(began - batch.arrival_mono, (ended - start) // count, total)
        outgoing: list[Outgoing] = []
        for i, slot in enumerate(cuts.slots.tolist()):
            stream = self.assembly.streams.streams[slot]
            end = int(cuts.end[i])
            verdict = self.inference.verdict(stream.state, scores[i], end)
            if verdict is None:
                self.counters.drop(MODEL_NAN)
                continue
            made = self._results.make(stream, int(cuts.start[i]), end, verdict.output, verdict.changed, verdict.alarm, took)
            outgoing.append(made)
        if outgoing:
            self._deliver(outgoing, total, hold)

    def _deliver(self, outgoing: list[Outgoing], total: int, hold: Hold | None) -> None:
        counters, count = self.counters, len(outgoing)
        counters.results += count
        counters.latency.record_many(total / 1e6, count)
        counters.late_results += count if total > self._deadline_ns else 0
        counters.last_result_ns, counters.last_result_mono = self._clock.wall(), self._clock.mono()
        counters.last_output = outgoing[-1].result.output
        for sink in self.sinks:
            chosen = wanted(outgoing, sink.when)
            if chosen:
                self.busy_since = self._clock.mono()  # a step of its own: an output may hold us up for a second
                sink.output.deliver(chosen, hold)

    def _reject(self, batch: Batch, rejected: Rejected) -> None:
        named = rejected.reason == MISSING and rejected.detail
        self.counters.reject(f"{rejected.reason} {rejected.detail}" if named else rejected.reason)
        self._on_rejected(self.name, batch.topics[rejected.message], batch.payloads[rejected.message], rejected)


def _parts(batch: Batch, most: int) -> list[Batch]:
    """Split a batch so that its messages cannot name more streams at once than there is room for."""
    count = len(batch.topics)
    if count <= most:
        return [batch]
    cut = (slice(start, start + most) for start in range(0, count, most))
    return [Batch(batch.topics[each], batch.payloads[each], batch.arrival, batch.arrival_mono, again=batch.again) for each in cut]


def _default_queue(options: schema.Pipeline) -> schema.Queue:
    """A file can wait, and so can a broker that keeps what is not acknowledged; a sensor cannot, and nobody waits for `background`."""
    source = options.source
    kept = isinstance(source, schema.MqttSource) and source.qos > 0 and options.class_ != "background"
    return schema.Queue(full="block") if kept or isinstance(source, (schema.FileSource, schema.StdinSource)) else schema.Queue()


def has_event_time(decoder: schema.Decoder) -> bool:
    """Say whether a decoder's readings carry event time."""
    return isinstance(decoder, schema.InfluxDecoder) or bool(getattr(decoder, "time", ""))
