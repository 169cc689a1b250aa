"""Let a candidate see the live windows of a pipeline, from its loading to its report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from edged.clock import NS, Clock
from edged.errors import Cancelled, PublisherError
from edged.service.parts import Lane
from edged.stream.change import Load
from edged.stream.shadow import Shadow, shadow_of

_POLL_S = 0.1
_HANGS_NS = 60 * NS

Progress = Callable[[int], None]


def run_shadow(lane: Lane, windows: int, load: Load, clock: Clock, progress: Progress, cancelled: Callable[[], bool]) -> dict[str, Any]:
    """Load a candidate beside a lane's pipeline and wait until it has run `windows` windows; give its report.

    Waits as long as no readings come. Raises what loading raises, OperatorError(`channels-do-not-match`), Cancelled,
    PublisherError(`shadow-hangs`) where readings come and no window was done for a minute.
    """
    assert lane.pipeline is not None
    inference = load()
    try:
        shadow = shadow_of(lane.options, inference, windows, clock)
    except BaseException:
        inference.close()
        raise
    lane.pipeline.shadow = shadow
    try:
        _wait(shadow, clock, progress, cancelled)
    finally:
        lane.pipeline.shadow = None
        shadow.stop()
    report = shadow.report()
    ratios = {"disagreement": report.disagreement, "latency_ratio": report.latency_ratio}
    return {"pipeline": lane.options.name, **msgspec.to_builtins(report), **ratios}


def _wait(shadow: Shadow, clock: Clock, progress: Progress, cancelled: Callable[[], bool]) -> None:
    windows, skipped, since = 0, 0, clock.mono()
    while not shadow.done:
        if cancelled():
            raise Cancelled
        report = shadow.report()
        progress(report.windows)
        if report.windows != windows or report.skipped == skipped:
            windows, since = report.windows, clock.mono()
            skipped = report.skipped
        elif clock.mono() - since > _HANGS_NS:
            raise PublisherError("shadow-hangs", "a live window has been in the candidate for a minute", "run it where the model is made")
        time.sleep(_POLL_S)
