"""What a pipeline's worker does to change its model, between two batches.

    take the streams over → run on → infer what is due at once → close the old model

Where there is memory for one model only, the old one is closed first and messages queue
meanwhile. Where the new one does not load, the old one is loaded again; where that fails too,
the pipeline stays without a model, and what comes is counted as dropped, until another change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edged.clock import NS
from edged.errors import BugError, EdgedError
from edged.stream.change import Change, Load
from edged.stream.fitted import Fitted
from edged.stream.handover import begin_anew
from edged.stream.transfer import Waiting, settle, take_over

if TYPE_CHECKING:
    from edged.stream.pipeline import Pipeline

LOAD_LIMIT_NS = 120 * NS  # how long a model may take to load before the pipeline counts as stuck


def make(pipeline: Pipeline, change: Change) -> None:
    """Make a change that was begun; raises nothing. Whatever fails is in `change.error`, and the old model goes on where it can."""
    old, had_one = pipeline.fitted, pipeline.fault is None
    began = pipeline.busy_since = pipeline.clock.mono()
    try:
        waiting = _with_both(pipeline, change) if change.fitted else _over_gap(pipeline, change)
    except Exception as error:
        waiting, change.error = [], as_edged(error)
    change.gap_ns = pipeline.clock.mono() - began
    change.waited = pipeline.inbox.waiting
    for each in waiting:
        _infer_due(pipeline, each)
    if had_one and pipeline.fitted is change.fitted:
        _close(pipeline, old)


def as_edged(error: Exception) -> EdgedError:
    """Give the error as one of ours."""
    return error if isinstance(error, EdgedError) else BugError.of("pipeline-bug", error)


def _with_both(pipeline: Pipeline, change: Change) -> list[Waiting]:
    """Go over to a model that is in memory beside the old one."""
    assert change.fitted is not None
    try:
        waiting = _go_over(pipeline, change.fitted)
    except Exception:
        change.fitted.inference.close()
        raise
    pipeline.swaps += 1
    return waiting


def _over_gap(pipeline: Pipeline, change: Change) -> list[Waiting]:
    """Close the model, then load the new one, or else the old one again."""
    pipeline.loading, pipeline.busy_since = pipeline.clock.mono(), 0
    if pipeline.fault is None:
        _close(pipeline, pipeline.fitted)
    pipeline.fault = BugError("no-model", "no model is loaded")
    try:
        return _load_one(pipeline, change)
    finally:
        pipeline.loading, pipeline.busy_since = 0, pipeline.clock.mono()


def _load_one(pipeline: Pipeline, change: Change) -> list[Waiting]:
    try:
        waiting = _load(pipeline, change.load)
        pipeline.swaps += 1
        return waiting
    except Exception as error:
        change.error = as_edged(error)
    try:
        return _load(pipeline, change.back)
    except Exception as error:
        pipeline.fault = as_edged(error)
        pipeline.failed(pipeline.fault, begin_anew(pipeline.fitted.assembly))
        return []


def _load(pipeline: Pipeline, load: Load | None) -> list[Waiting]:
    assert load is not None
    inference = load()
    try:
        return _go_over(pipeline, pipeline.fit(inference))
    except Exception:
        inference.close()
        raise


def _go_over(pipeline: Pipeline, fitted: Fitted) -> list[Waiting]:
    """Take the streams over and run `fitted` from now on; the pipeline stays as it is where that fails."""
    old = pipeline.fitted
    waiting = take_over(fitted.assembly, old.assembly, old.identity == fitted.identity, pipeline.counters)
    pipeline.run_on(fitted)
    return waiting


def _close(pipeline: Pipeline, fitted: Fitted) -> None:
    """Close a model that ran; that it does not close is told, and changes nothing else."""
    try:
        fitted.inference.close()
    except Exception as error:
        pipeline.failed(error, 0)


def _infer_due(pipeline: Pipeline, waiting: Waiting) -> None:
    """Push readings of one stream through that no window covered yet."""
    assembly = pipeline.fitted.assembly
    try:
        for cuts in assembly.cuts_of(waiting.slot, waiting.values, waiting.times):
            pipeline.infer(cuts)
    except Exception as error:
        pipeline.failed(error, len(waiting.times))
    settle(assembly, waiting)
