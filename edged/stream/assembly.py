"""From readings to windows: which stream, in which order, which windows are complete.

    find the streams → order in time → cut windows

Three ways lead through, by what the batch looks like, all with the same outcome: readings of
one stream go as a run, one reading each of many streams goes in one step, and anything else
is sorted into runs. Messages that are whole inputs (`input.kind` tensor or text) pass by the
windows. The cuts come one after the other, so that what a gap resets is reset in between.
How streams come from one run to the next, says `handover.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edged.models.manifest import Input
from edged.records import WRONG_LENGTH, Batch, Readings, Rejected, Texts
from edged.stream.counters import Counters
from edged.stream.streams import NOT_OURS, Labels, StreamTable
from edged.stream.timeline import Timeline
from edged.stream.windows import CUT_WINDOWS, Cuts, WindowTable, slot_bytes

RING_BYTES = 64 << 20  # memory for unfinished windows of one pipeline; bounds its streams
UNKNOWN_TOPIC = "unknown-topic"
LET_GO = "stream-let-go"


class StreamState(Protocol):
    """What postprocessing remembers of a stream."""

    def gap(self) -> None:
        """Forget what lies before a gap."""


class Assembly:
    """The streams of one pipeline and their unfinished windows. Used by one thread."""

    def __init__(
        self,
        given: Input,
        channels: list[str],
        event_time: bool,
        max_streams: int,
        labels_of: Callable[[bytes], Labels | None],
        new_state: Callable[[], StreamState],
        forget: Callable[[int], None],
        counters: Counters,
        reject: Callable[[Batch, Rejected], None],
    ) -> None:
        """`channels` are the names of the decoder's, which may be more than the model's; `labels_of` reads a topic.

        `event_time` says whether readings are expected to carry it; what comes decides.
        `new_state` makes what postprocessing keeps of a stream; `forget` clears a slot's engine.
        """
        self.given = given
        self.channels = channels
        self.event_time = event_time
        self._forget = forget
        self._counters = counters
        self._reject = reject
        limit = min(max_streams, max(1, RING_BYTES // slot_bytes(given.samples, len(channels))))
        self.streams = StreamTable(limit, labels_of, new_state, self._begin)
        hop = given.hop or given.samples
        self.windows = WindowTable(given.samples, hop, len(channels))
        self._at_once = CUT_WINDOWS * hop
        self.timeline = Timeline(given.rate_hz, given.gap, given.samples)

    def cuts(self, batch: Batch, decoded: Readings | Texts) -> Iterator[Cuts]:
        """Give the windows that a batch's readings complete, or its texts, at most CUT_WINDOWS at a time."""
        yield from _in_parts(self._texts(batch, decoded) if isinstance(decoded, Texts) else self._windows(batch, decoded))

    def _windows(self, batch: Batch, readings: Readings) -> Iterator[Cuts | None]:
        times = readings.times if readings.times is not None else np.full(len(readings.values), batch.arrival, np.int64)
        topics = batch.topics
        self.event_time = readings.times is not None  # a serial line may bring either
        self.timeline.again = batch.again
        if self.given.kind == "tensor":
            return self._tensors(batch, readings, times)
        if readings.labels is None and topics.count(topics[0]) == len(topics):
            return self._one_topic(batch, readings, times)
        return self._mixed(batch, readings, times)

    def cuts_of(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64]) -> Iterator[Cuts]:
        """Give the windows that readings of one known stream complete, at most CUT_WINDOWS at a time."""
        yield from _in_parts(self._run(slot, values, times))

    def _one_topic(self, batch: Batch, readings: Readings, times: NDArray[np.int64]) -> Iterator[Cuts | None]:
        slot = self.streams.one_slot(batch.topics[0])
        if slot >= 0:
            yield from self._run(slot, readings.values, times)
            return
        rejected = {each.message for each in readings.rejected}
        for message in range(len(batch.topics)):
            if message not in rejected:
                self._no_stream(batch, message)

    def _mixed(self, batch: Batch, readings: Readings, times: NDArray[np.int64]) -> Iterator[Cuts | None]:
        """Spread readings of several streams."""
        by_message = self._slots(batch, readings.labels, readings.rejected)
        slots, values = by_message[readings.message], readings.values
        if slots.min() < 0:
            known = slots >= 0
            slots, values, times = slots[known], values[known], times[known]
        if len(set(slots.tolist())) == len(slots):
            yield from self._one_each(slots, values, times)
            return
        order = np.argsort(slots, kind="stable")
        slots, values, times = slots[order], values[order], times[order]
        edges = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(slots)]
        for first, last in itertools.pairwise(edges):
            yield from self._run(int(slots[first]), values[first:last], times[first:last])

    def _slots(self, batch: Batch, labels: list[Labels] | None, refused: list[Rejected]) -> NDArray[np.intp]:
        """Give the slot of each message. One that was refused begins no stream: its labels are not known."""
        rejected = {each.message for each in refused}
        by_message = self.streams.slots_of(batch.topics, labels, rejected)
        if by_message.min() < 0:
            for message in np.flatnonzero(by_message < 0).tolist():
                if message not in rejected:
                    self._no_stream(batch, message)
        return by_message

    def _one_each(self, slots: NDArray[np.intp], values: NDArray[np.float32], times: NDArray[np.int64]) -> Iterator[Cuts | None]:
        """Take one reading of each of several streams."""
        if self.event_time and len(slots):
            fits = self.timeline.in_order(slots, times)
            for i in np.flatnonzero(~fits).tolist():
                yield from self._judge_time(int(slots[i]), values[i : i + 1], times[i : i + 1])
            if not fits.all():
                slots, values, times = slots[fits], values[fits], times[fits]
            self.timeline.remember(slots, values)
        if len(slots):
            yield self.windows.push_each(slots, values, times)

    def _run(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64]) -> Iterator[Cuts | None]:
        """Take readings of one stream, in the order they came."""
        if self.event_time:
            if not self.timeline.run_in_order(slot, times):
                yield from self._judge_time(slot, values, times)
                return
            self.timeline.remember([slot], values[-1:])
        yield from self._push(slot, values, times)

    def _judge_time(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64]) -> Iterator[Cuts | None]:
        for piece in self.timeline.pieces(slot, values, times):
            if piece.begin_anew:
                self._counters.drop("gap", self.windows.reset(slot))
                self.streams.streams[slot].state.gap()
                self._forget(slot)
            self._counters.filled += piece.filled
            yield from self._push(slot, piece.values, piece.times)
        for reason, count in self.timeline.take_rejected().items():
            self._counters.reject(reason, count)

    def _push(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64]) -> Iterator[Cuts | None]:
        """Push readings that follow each other, no more at once than complete CUT_WINDOWS windows."""
        for first in range(0, len(values), self._at_once):
            last = first + self._at_once
            yield self.windows.push_run(slot, values[first:last], times[first:last])

    def _tensors(self, batch: Batch, readings: Readings, times: NDArray[np.int64]) -> Iterator[Cuts | None]:
        """Take each message as one whole input."""
        samples = self.given.samples
        starts = np.flatnonzero(np.diff(readings.message, prepend=-1))
        lengths = np.diff(starts, append=len(readings.message))
        messages = readings.message[starts]
        slots = self._slots(batch, readings.labels, readings.rejected)[messages]
        for i in np.flatnonzero(lengths != samples).tolist():
            self._reject(batch, Rejected(int(messages[i]), WRONG_LENGTH, f"{lengths[i]} readings instead of {samples}"))
        whole = (lengths == samples) & (slots >= 0)
        if whole.any():
            rows = starts[whole, None] + np.arange(samples)
            yield Cuts(readings.values[rows], slots[whole], times[starts[whole]], times[starts[whole] + samples - 1])

    def _texts(self, batch: Batch, texts: Texts) -> Iterator[Cuts | None]:
        """Take each message as one text, which is of the time it came."""
        slots = self._slots(batch, None, texts.rejected)
        slots[[each.message for each in texts.rejected]] = NOT_OURS
        known = np.flatnonzero(slots >= 0)
        came = np.full(len(known), batch.arrival, np.int64)
        yield Cuts(np.array(texts.texts, object)[known], slots[known], came, came)

    def _begin(self, slot: int) -> None:
        """Give a slot to a new stream."""
        self._counters.drop(LET_GO, self.windows.reset(slot))
        self.timeline.reset(slot)
        self._forget(slot)

    def _no_stream(self, batch: Batch, message: int) -> None:
        self._reject(batch, Rejected(message, UNKNOWN_TOPIC))


def _in_parts(found: Iterator[Cuts | None]) -> Iterator[Cuts]:
    for cut in found:
        if cut is not None:
            yield from (cut,) if len(cut.slots) <= CUT_WINDOWS else cut.parts(CUT_WINDOWS)
