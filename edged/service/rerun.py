"""Run the pipelines of a configuration over a recording, under a virtual clock.

Sources and brokers stay closed; every result goes to one output instead of the configured
ones. One thread, one batch after the other, so that the same recording gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edged.clock import VirtualClock
from edged.config import schema
from edged.config.load import Loaded
from edged.engines.choose import open_engine
from edged.models.active import active_release
from edged.records import Batch, Rejected
from edged.service.lanes import release_of
from edged.stream.build import Around, build_pipeline
from edged.stream.outputs.base import Output
from edged.stream.pipeline import Pipeline, Sink
from edged.stream.recording import read_header, replay
from edged.stream.sources.pipeline import PipelineSource


@dataclass
class Outcome:
    """What a replay came to."""

    messages: int
    skipped: int  # messages of pipelines that the configuration does not have
    cut_at: int  # line where the recording is cut short, 0 where it is whole
    pipelines: list[Pipeline]


def rerun(loaded: Loaded, recording: Path, output: Output, progress: Callable[[int], None]) -> Outcome:
    """Replay `recording`; raises OperatorError for a file that is none, and what building a pipeline raises."""
    with recording.open("rb") as file:
        header = read_header(file, recording)
        clock = VirtualClock(header.started)
        pipelines = _build(loaded, clock, header.run, output)
        skipped = seen = cut_at = 0

        def process(name: str, batch: Batch) -> None:
            nonlocal skipped, seen
            seen += len(batch.topics)
            if name in pipelines:
                pipelines[name].process(batch)
            else:
                skipped += len(batch.topics)
            progress(seen)

        def cut(line: int) -> None:
            nonlocal cut_at
            cut_at = line

        with np.errstate(all="ignore"):  # as in `Worker`
            messages = replay(file, header, recording, clock, process, cut)
    for pipeline in pipelines.values():
        pipeline.close()
    return Outcome(messages, skipped, cut_at, list(pipelines.values()))


def _build(loaded: Loaded, clock: VirtualClock, run: str, output: Output) -> dict[str, Pipeline]:
    # Batches of windows may differ from single ones in the last bits, and whether batching
    # pays is measured: a replay computes one window at a time.
    opener = partial(open_engine, batching=False)
    find = partial(active_release, loaded.state_dir)
    around = Around(loaded.device_id, loaded.config.device.fleet, run, clock, opener, _ignore, find=find)
    built: dict[str, Pipeline] = {}
    for options in _upstream_last(loaded.config.pipelines):
        sinks = [Sink(output, "always")]
        for other in built.values():
            source = other.options.source
            if isinstance(source, schema.PipelineSource) and source.name == options.name:
                chained = PipelineSource(clock)
                chained.start(other.process)
                sinks.append(Sink(chained, source.when))
        built[options.name] = build_pipeline(options, release_of(options, loaded.state_dir), sinks, _no_wake, around)
    return built


def _upstream_last(pipelines: list[schema.Pipeline]) -> list[schema.Pipeline]:
    """Order pipelines so that one that feeds on another comes before it."""
    ordered: list[schema.Pipeline] = []
    left = list(pipelines)
    while left:
        fed = {each.source.name for each in left if isinstance(each.source, schema.PipelineSource)}
        ready = [each for each in left if each.name not in fed] or left
        ordered += ready
        left = [each for each in left if each not in ready]
    return ordered


def _no_wake() -> None:
    """Nobody waits for a batch: each is worked off at once."""


def _ignore(pipeline: str, topic: bytes, payload: bytes | None, rejected: Rejected) -> None:
    """A replay counts refused messages and publishes no samples."""
