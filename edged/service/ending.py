"""Whether the lanes of a daemon are at their end, and how they are brought to it."""

from __future__ import annotations

import sys
import time

from edged.clock import NS, Clock
from edged.config import schema
from edged.service.parts import Lane, Parts

WORKERS_STOP_S = 5.0
_LAST_STEP_S = 2.0
_DRAIN_S = 0.01


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
    return ended and not has_work(lane) and not _is_asking(lane)


def unwritten(lane: Lane) -> bool:
    """Say whether an output let results go, other than one whose reader has gone."""
    return lane.pipeline is not None and any(sink.output.dropped and not sink.output.finished for sink in lane.pipeline.sinks)


def has_work(lane: Lane) -> bool:
    """Say whether messages wait, or are worked on."""
    return lane.pipeline is not None and bool(lane.pipeline.inbox.waiting or lane.pipeline.busy_since or lane.pipeline.loading)


def _is_asking(lane: Lane) -> bool:
    """Say whether somebody may still answer a question."""
    return lane.pipeline is not None and lane.pipeline.escalation is not None and bool(lane.pipeline.escalation.open)


def close(lanes: list[Lane]) -> None:
    """Let nothing more in."""
    for lane in lanes:
        lane.source.stop()
        if lane.pipeline is not None:
            lane.pipeline.inbox.close()


def give_up_texts(lanes: list[Lane]) -> None:
    """Let go of texts that wait and of the one that is worked on, which may take as long as a pipeline's deadline allows."""
    for lane in lanes:
        if lane.pipeline is not None and lane.pipeline.fitted.of_texts:
            lane.pipeline.stopping = True


def forget_unacknowledged(lanes: list[Lane]) -> None:
    """Let go of messages that wait and that a broker keeps for the next start."""
    for lane in lanes:
        if lane.pipeline is not None:
            lane.pipeline.inbox.forget_before(sys.maxsize)


def stop_lanes(parts: Parts, clock: Clock) -> bool:
    """Stop sources and workers; say whether everything was worked off.

    A pipeline that feeds on another stays open until that one has nothing left.
    """
    end, lanes = clock.mono() + int(WORKERS_STOP_S * NS), parts.lanes
    first = [lane for lane in lanes if not isinstance(lane.options.source, schema.PipelineSource)]
    close(first)
    while len(first) < len(lanes) and _at_work(lanes) and clock.mono() < end:
        time.sleep(_DRAIN_S)
    close(lanes)
    stopped = [worker.stop(max(0.0, (end - clock.mono()) / NS)) for worker in parts.workers]
    if not all(stopped):
        forget_unacknowledged(lanes)
        give_up_texts(lanes)
        stopped = [worker.stop(_LAST_STEP_S) for worker in parts.workers]
    return all(stopped)


def _at_work(lanes: list[Lane]) -> bool:
    return any(has_work(lane) for _ in lanes for lane in lanes)  # again and again: results may go down a chain between two looks
