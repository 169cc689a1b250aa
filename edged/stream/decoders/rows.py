"""Objects with numbers or arrays at known paths, to `Readings`; shared by `json` and `cbor`.

A channel is a number (one reading) or an array (many). With arrays, the time is an array of
the same length, or one number: the time of the first reading, the others follow at the
release's rate. A list of objects is the readings of its objects in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.clock import NS
from edged.config.schema import JsonDecoder
from edged.records import BAD_TIME, WRONG_LENGTH, Readings, Rejected
from edged.stream.decoders.labels import MIXED, LabelSets, label_text
from edged.stream.decoders.paths import Leaves
from edged.stream.decoders.sound import Bad, Labels, Refused, nothing, sound, take_each
from edged.stream.decoders.times import Times

Found = list[tuple[int, list[Any]]]  # message index, its objects

# What fetching and converting raise when the objects are not what the fast way expects.
ODD = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)

_LAST_NS = 2**63 - 1


class Rows:
    """Gathers the wanted values of many objects; knows nothing of how they were encoded."""

    def __init__(self, options: JsonDecoder, rate_hz: float) -> None:
        self._channels = options.channels
        self._label_names = [each.rpartition(".")[2] for each in options.labels]
        self._label_sets = LabelSets(self._text) if options.labels else None
        self._times = Times(options.time_unit) if options.time else None
        self._rate_hz = rate_hz

    def numbers(
        self, leaves: Leaves, objects: Sequence[Any], message: NDArray[np.intp], payloads: int, rejected: list[Rejected]
    ) -> Readings:
        """Take objects whose channels are all numbers: one reading each. Raises one of ODD where one is not."""
        channels = len(self._channels)
        values = np.fromiter(leaves.flat(objects), np.float64, len(objects) * channels).reshape(-1, channels)
        times = None
        bad: list[Bad] = []
        if self._times:
            times, wrong = self._times.many(list(map(leaves.time, objects)))
            bad = [(row, BAD_TIME, "") for row in wrong]
        labels = None
        if self._label_sets:
            labels = self._label_sets.many(map(leaves.labels, objects), message.tolist(), payloads, bad)
        return sound(values, times, message, labels, rejected, self._channels, bad)

    def gather(self, leaves: Leaves, found: Found, payloads: int, rejected: list[Rejected]) -> Readings:
        """Take messages of any form. The types in `found` are right: what is left to refuse is lengths, times and bounds."""
        objects = list(chain.from_iterable(each for _, each in found))
        message = np.repeat(np.array([i for i, _ in found], np.intp), np.array([len(each) for _, each in found], np.intp))
        try:
            return self.numbers(leaves, objects, message, payloads, rejected)
        except ODD:
            return self._arrays(leaves, found, payloads, rejected)

    def _arrays(self, leaves: Leaves, found: Found, payloads: int, rejected: list[Rejected]) -> Readings:
        taken = take_each(found, lambda _, objects: self._message(leaves, objects), rejected)
        labels: list[Labels] | None = [()] * payloads if self._label_sets else None
        if labels is not None:
            for i, (_, _, found_labels) in taken:
                labels[i] = found_labels
        rejected.sort(key=lambda each: each.message)
        if not taken:
            return nothing(len(self._channels), self._times is not None, labels, rejected)
        values = [values for _, (values, _, _) in taken]
        message = np.repeat(np.array([i for i, _ in taken], np.intp), list(map(len, values)))
        times = np.concatenate([times for _, (_, times, _) in taken]) if self._times else None
        return sound(np.concatenate(values), times, message, labels, rejected, self._channels)

    def _message(self, leaves: Leaves, objects: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64], Labels]:
        parts = [self._object(leaves, each) for each in objects]
        labels = {self._label_sets.of(leaves.labels(each)) for each in objects} if self._label_sets else {()}
        if len(labels) > 1:
            raise Refused(*MIXED)
        return np.concatenate([values for values, _ in parts]), np.concatenate([times for _, times in parts]), labels.pop()

    def _object(self, leaves: Leaves, each: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        row = leaves.channels(each)
        sizes = {len(value) if type(value) is list else -1 for value in row}
        if len(sizes) > 1:
            raise Refused(WRONG_LENGTH, "the channels are of different lengths")
        size = sizes.pop()
        if size == 0:
            raise Refused(WRONG_LENGTH, "the arrays are empty")
        values = np.array(row, np.float64).reshape(len(row), -1).T
        return values, self._object_times(leaves.time(each), size, len(values)) if self._times else np.empty(0, np.int64)

    def _object_times(self, raw: Any, size: int, readings: int) -> NDArray[np.int64]:
        assert self._times is not None
        many = type(raw) is list
        if many and len(raw) != size:
            raise Refused(WRONG_LENGTH, "time and channels are of different lengths")
        times, wrong = self._times.many(raw if many else [raw])
        if wrong:
            raise Refused(BAD_TIME)
        if many or readings == 1:
            return times
        if self._rate_hz <= 0:
            raise Refused(BAD_TIME, "one time for many readings, and the model names no rate")
        steps = np.rint(np.arange(readings) * (NS / self._rate_hz))
        if int(times[0]) + int(steps[-1]) > _LAST_NS:
            raise Refused(BAD_TIME)
        return times[0] + steps.astype(np.int64)

    def _text(self, raw: tuple[Any, ...]) -> Labels:
        return tuple([(name, label_text(name, value)) for name, value in zip(self._label_names, raw)])
