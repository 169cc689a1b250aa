"""Whether the data path progresses: what the watchdog is fed for. The existence of a process is not health."""

from __future__ import annotations

from edged.clock import NS, Clock
from edged.config import schema
from edged.service.parts import Lane, Parts
from edged.stream.swap import LOAD_LIMIT_NS

STUCK_AT_LEAST_S = 2.0
# An engine for texts says that it goes on, but not while its process starts anew. What hangs there it ends itself, within a minute.
TEXT_STUCK_AT_LEAST_S = 90.0


def stuck_limit_ns(options: schema.Pipeline) -> int:
    """Give how long one step of a pipeline may take before it counts as stuck: 5 deadlines, 2 s at least, with texts 90 s."""
    least = TEXT_STUCK_AT_LEAST_S if isinstance(options.decoder, schema.TextDecoder) else STUCK_AT_LEAST_S
    return int(max(least, 5 * options.deadline_ms / 1000) * NS)


def is_stuck(lane: Lane, clock: Clock) -> bool:
    """Say whether a pipeline has been at one step for longer than its limit, or at loading a model for longer than any takes."""
    if lane.pipeline is None:
        return False
    busy, loading, now = lane.pipeline.busy_since, lane.pipeline.loading, clock.mono()
    return bool(busy and now - busy > stuck_limit_ns(lane.options)) or bool(loading and now - loading > LOAD_LIMIT_NS)


def hindrance(parts: Parts) -> str:
    """Say what keeps the data path from progressing, in words; empty where nothing does."""
    for lane in parts.lanes:
        if is_stuck(lane, parts.clock):
            return f"pipeline {lane.options.name} has been at one step for more than {stuck_limit_ns(lane.options) / NS:g} s"
    for worker in parts.workers:
        if worker.ended:
            return "a worker thread has ended"
    for name, link in parts.links.items():
        if not link.alive:
            return f"the thread of broker {name} has ended"
    if parts.delivery and parts.delivery.writer and not parts.delivery.writer.alive:
        return "the spool's thread has ended"
    return ""
