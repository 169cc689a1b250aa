"""A pipeline in this process, without sources and brokers: messages in by hand, results kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edged.clock import VirtualClock
from edged.config import schema
from edged.engines.choose import open_engine
from edged.hold import Hold
from edged.models.manifest import Release, load_release
from edged.records import Batch, Outgoing, Rejected, Result
from edged.stream.build import Around, build_pipeline
from edged.stream.loading import OpenEngine
from edged.stream.pipeline import Pipeline, Sink

START_NS = 1_795_351_772_000_000_000


class Kept:
    """An output that keeps what it gets."""

    finished = False
    failing: str | None = None

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self.outgoing: list[Outgoing] = []

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        self.outgoing += outgoing

    def close(self) -> None:
        pass

    @property
    def results(self) -> list[Result]:
        return [each.result for each in self.outgoing]


class Lane:
    """One pipeline on `release`, its results and what it refused."""

    def __init__(
        self,
        release: Path,
        decoder: dict[str, Any],
        topic: str = "in/{key}",
        prefer: str | None = None,
        opener: OpenEngine | None = None,
        find: Callable[[str], Release] | None = None,
        **options: Any,
    ) -> None:
        """`decoder` and `options` as the keys of a configuration; `prefer` takes one runtime and no other, or `opener` opens engines.

        `find` gives the releases of other models.
        """
        self.kept = Kept()
        self.rejected: list[Rejected] = []
        self.clock = VirtualClock(START_NS)
        table = {"name": "lane", "model_dir": str(release), "source": {"type": "mqtt", "topic": topic}, "decoder": decoder, **options}
        opener = opener or partial(open_engine, prefer=prefer)
        self.around = Around("device", "fleet", "run", self.clock, opener, self._refuse, find=find)
        self.pipeline: Pipeline = build_pipeline(
            msgspec.convert(table, schema.Pipeline), load_release(release), [Sink(self.kept, "always")], _nobody_waits, self.around
        )
        self.counters = self.pipeline.counters

    def put(self, *messages: tuple[str, bytes | str | None]) -> None:
        """Work messages, (topic, payload), off as one batch."""
        payloads = [each.encode() if isinstance(each, str) else each for _, each in messages]
        topics = [topic.encode() for topic, _ in messages]
        self.pipeline.process(Batch(topics, payloads, self.clock.wall(), self.clock.mono()))
        assert self.pipeline.last_error is None, self.pipeline.last_error

    def put_texts(self, *texts: bytes | str | None, key: str = "a") -> None:
        """Work texts of one stream off as one batch; what went wrong is in the pipeline's `last_error`."""
        payloads = [each.encode() if isinstance(each, str) else each for each in texts]
        self.pipeline.process(Batch([f"in/{key}".encode()] * len(payloads), payloads, self.clock.wall(), self.clock.mono()))

    def _refuse(self, _pipeline: str, _topic: bytes, _payload: bytes | None, rejected: Rejected) -> None:
        self.rejected.append(rejected)


def _nobody_waits() -> None:
    """Each batch is worked off at once."""
