"""What one pipeline had counted when its release began to serve, and what is late through no fault of that release."""

from __future__ import annotations

from dataclasses import dataclass

from edged.clock import NS
from edged.stream.pipeline import Pipeline

STARTING_NS = 300 * NS  # a broker's backlog is worked off by then


@dataclass
class Baseline:
    """Counters of a pipeline when its release began to serve.

    What waited at a swap is late because of the swap, and what waits after a start because nothing
    ran: the counts of `results` and `late` move on until that is worked off.

    was_late   the part of results that was late under the release before
    backlog    how many messages there will have been when what waited at the swap is worked off
    starts     until when messages may wait because of a start, monotonic
    waited     messages of that kind waited at the last look; what did until the first is not known
    behind     and it shows: results are late
    """

    mono: int
    windows: int = 0
    failed: int = 0
    results: int = 0
    late: int = 0
    was_late: float = 0.0
    backlog: int = -1
    starts: int = 0
    waited: bool = True
    behind: bool = False

    def look(self, pipeline: Pipeline, now: int) -> None:
        """Move on where results still are late because of the swap or the start; `now` is monotonic."""
        counters, waiting = pipeline.counters, bool(pipeline.inbox.waiting)
        of_swap = counters.messages <= self.backlog and bool(waiting or pipeline.busy_since)
        waits = of_swap or (waiting and now < self.starts)
        self.behind = of_swap or (waits and counters.late_results > self.late)
        if waits or self.waited:
            self.results, self.late = counters.results, counters.late_results
        self.waited = waits


def at_start(now: int) -> Baseline:
    """Give the baseline of a release that serves from the start of the daemon on."""
    return Baseline(now, starts=now + STARTING_NS)


def at_swap(pipeline: Pipeline, now: int, was_late: float) -> Baseline:
    """Give the baseline of a release that a pipeline just went over to."""
    counters = pipeline.counters
    windows, failed, results, late = counters.windows, counters.failed_windows, counters.results, counters.late_results
    return Baseline(now, windows, failed, results, late, was_late, counters.messages + pipeline.inbox.waiting)


def part_late(pipeline: Pipeline, since: Baseline) -> float:
    """Give the part of results that was late under the release that serves."""
    results = pipeline.counters.results - since.results
    return (pipeline.counters.late_results - since.late) / results if results else since.was_late
