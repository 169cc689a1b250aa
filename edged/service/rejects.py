"""Samples of refused messages to `evt/rejected`, at a limited rate, so that a person sees what came.

At most one a second for each pipeline: the counters have the number, this has an example.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec

from edged.clock import NS, Clock, iso
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics
from edged.records import Rejected

EXCERPT = 256  # bytes of a refused payload that are shown


class RejectSampler:
    """Makes the samples. Called by the worker threads, each for its own pipelines."""

    def __init__(self, topics: DeviceTopics, clock: Clock, publish: Callable[[Message], None]) -> None:
        self._topic = topics.event("rejected")
        self._clock = clock
        self._publish = publish
        self._next: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def __call__(self, pipeline: str, topic: bytes, payload: bytes | None, rejected: Rejected) -> None:
        """Publish one sample, or none when one of this pipeline went out less than a second ago."""
        now = self._clock.mono()
        if now < self._next.get(pipeline, 0):
            return
        self._next[pipeline] = now + NS
        sample = {
            "v": 1,
            "number": next(self._numbers),
            "time": iso(self._clock.wall()),
            "pipeline": pipeline,
            "reason": rejected.reason,
            "detail": rejected.detail,
            "topic": topic[:EXCERPT].decode("utf-8", "replace"),
            "bytes": None if payload is None else len(payload),
            "payload": None if payload is None else payload[:EXCERPT].decode("utf-8", "replace"),
        }
        self._publish(Message(self._topic, msgspec.json.encode(sample)))
