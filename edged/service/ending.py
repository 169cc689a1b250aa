"""Whether the lanes of a daemon are at their end, and how they are brought to it."""

from __future__ import annotations

import sys

from edged.config import schema
from edged.service.parts import Lane


def is_done(lane: Lane) -> bool:
    """Say whether nothing more can come through a lane.

    A lane without a pipeline whose source never ends waits for a model: the daemon stays up
    so that `edged status` can say why.
    """
    source = lane.options.source
    if lane.pipeline is None:
        return isinstance(source, schema.StdinSource) or (isinstance(source, schema.FileSource) and not source.follow)
    if lane.pipeline.sinks and all(sink.output.finished for sink in lane.pipeline.sinks):
        return True  # nobody reads it any more, as in `edged run | head`
    ended = lane.source.finished or isinstance(source, schema.PipelineSource)
    return ended and not has_work(lane)


def unwritten(lane: Lane) -> bool:
    """Say whether an output let results go, other than one whose reader has gone."""
    return lane.pipeline is not None and any(sink.output.dropped and not sink.output.finished for sink in lane.pipeline.sinks)


def has_work(lane: Lane) -> bool:
    """Say whether messages wait, or are worked on."""
    return lane.pipeline is not None and bool(lane.pipeline.inbox.waiting or lane.pipeline.busy_since or lane.pipeline.loading)


def close(lanes: list[Lane]) -> None:
    """Let nothing more in."""
    for lane in lanes:
        lane.source.stop()
        if lane.pipeline is not None:
            lane.pipeline.inbox.close()


def forget_unacknowledged(lanes: list[Lane]) -> None:
    """Let go of messages that wait and that a broker keeps for the next start."""
    for lane in lanes:
        if lane.pipeline is not None:
            lane.pipeline.inbox.forget_before(sys.maxsize)
