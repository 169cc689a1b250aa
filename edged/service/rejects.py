"""Samples of refused messages to `evt/rejected`, at a limited rate, so that a person sees what came.

At most one a second for each pipeline: the counters have the number, this has an example.
"""

from __future__ import annotations

from threading import Lock

from edged.clock import NS, Clock
from edged.records import Rejected
from edged.service.events import Events

EXCERPT = 256  # bytes of a refused payload that are shown


class RejectSampler:
    """Makes the samples. Called by the worker threads, each for its own pipelines."""

    def __init__(self, events: Events, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._next: dict[str, int] = {}
        self._lock = Lock()

    def __call__(self, pipeline: str, topic: bytes, payload: bytes | None, rejected: Rejected) -> None:
        """Publish one sample, or none when one of this pipeline went out less than a second ago."""
        now = self._clock.mono()
        if now < self._next.get(pipeline, 0):
            return
        self._next[pipeline] = now + NS
        sample = {
            "pipeline": pipeline,
            "reason": rejected.reason,
            "detail": rejected.detail,
            "topic": topic[:EXCERPT].decode("utf-8", "replace"),
            "bytes": None if payload is None else len(payload),
            "payload": None if payload is None else payload[:EXCERPT].decode("utf-8", "replace"),
        }
        with self._lock:
            self._events.tell("rejected", sample)
