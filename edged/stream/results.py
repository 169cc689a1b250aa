"""Put a result together: its id, its times, what computed it (design: "A result").

With event time the id is a hash of what the result is about: device, pipeline, stream,
release and window. The same window gives the same id, also after a restart, so that a
consumer can drop what it gets twice. Without event time a number that counts up and the
run's own token take the window's place.
"""

from __future__ import annotations

import hashlib
from typing import Any

from edged.clock import MS, iso
from edged.records import ModelRef, Outgoing, Result, Timing, Window
from edged.stream.streams import Stream


class ResultMaker:
    """Makes the results of one pipeline and one loaded variant."""

    def __init__(self, device: str, pipeline: str, model: ModelRef, samples: int, run: str) -> None:
        self._device = device
        self._pipeline = pipeline
        self._model = model
        self._samples = samples
        about = (device, pipeline, model.name, str(model.release))
        self._of_window = hashlib.blake2b("\x00".join((*about, "")).encode(), digest_size=12)
        self._of_run = hashlib.blake2b("\x00".join((*about, run)).encode(), digest_size=12)

    def make(
        self,
        stream: Stream,
        start: int,
        end: int,
        event_time: bool,
        output: dict[str, Any],
        changed: bool,
        alarm: bool | None,
        timing: Timing,
    ) -> Outgoing:
        """Give the result of one window; `start` and `end` in nanoseconds since 1970 UTC, by the readings themselves with `event_time`."""
        stream.results += 1
        ended = iso(end)
        result = Result(
            v=1,
            id=self._id(stream, start, end, event_time),
            time=ended,
            device=self._device,
            pipeline=self._pipeline,
            key=stream.key,
            labels=stream.labels,
            window=Window(iso(start), ended, self._samples),
            model=self._model,
            output=output,
            timing=timing,
            clock="" if event_time else "arrival",
            alarm=alarm,
        )
        return Outgoing(result, end, changed, bool(alarm))

    def _id(self, stream: Stream, start: int, end: int, event_time: bool) -> str:
        digest = (self._of_window if event_time else self._of_run).copy()
        what = f"{stream.key}\x00{start}\x00{end}" if event_time else f"{stream.key}\x00{stream.results}\x00{end}"
        digest.update(what.encode())
        return digest.hexdigest()


def timing(queue_ns: int, infer_ns: int, total_ns: int) -> Timing:
    """Round durations to microseconds, in milliseconds."""
    return Timing(round(queue_ns / MS, 3), round(infer_ns / MS, 3), round(total_ns / MS, 3))
