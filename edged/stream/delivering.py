"""What a pipeline's worker does with results: count them, hand them to the outputs, ask about those that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edged.hold import Hold
from edged.records import Outgoing
from edged.stream.cascade import ESCALATE
from edged.stream.escalation import Escalation
from edged.stream.fitted import Fitted
from edged.stream.outputs.base import wanted
from edged.stream.windows import Cuts

if TYPE_CHECKING:
    from edged.stream.pipeline import Pipeline


def deliver(pipeline: Pipeline, outgoing: list[Outgoing], total: int, hold: Hold | None) -> None:
    """Deliver results of inputs that came in `total` nanoseconds ago; `hold` is taken for those that are not safe yet."""
    counters, count = pipeline.counters, len(outgoing)
    counters.latency.record_many(total / 1e6, count)
    counters.late_results += count if total > pipeline.deadline_ns else 0
    counters.last_result_ns, counters.last_result_mono = pipeline.clock.wall(), pipeline.clock.mono()
    counters.last_output = outgoing[-1].result.output
    _put_out(pipeline, outgoing, hold)


def ask(escalation: Escalation, fitted: Fitted, cuts: Cuts, outgoing: list[Outgoing], places: list[int]) -> None:
    """Ask about those results, of the inputs in these places of `cuts`, whose band says so."""
    for made, i in zip(outgoing, places):
        if made.result.output.get("band") == ESCALATE:
            escalation.ask(made, fitted.text_of(cuts, i), fitted.inference.manifest.output.labels)


def deliver_answers(pipeline: Pipeline, escalation: Escalation) -> None:
    """Deliver what somebody said to questions; raises nothing. How long that took is not the model's latency."""
    answered = escalation.take()
    try:
        if answered:
            _put_out(pipeline, answered, None)
    except Exception as error:
        pipeline.failed(error, len(answered))


def _put_out(pipeline: Pipeline, outgoing: list[Outgoing], hold: Hold | None) -> None:
    pipeline.counters.results += len(outgoing)
    for sink in pipeline.sinks:
        chosen = wanted(outgoing, sink.when)
        if chosen:
            pipeline.busy_since = pipeline.clock.mono()  # a step of its own: an output may hold us up for a second
            pipeline.delivering = True
            try:
                sink.output.deliver(chosen, hold)
            finally:
                pipeline.delivering = False
