"""Coverage against accuracy: what a stage alone and a cascade come to at each threshold; pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edged.fitting.cascade import Outcome, StageAnswers, run_cascade

_POINTS = 60
_LEAST_ROWS = 10  # accepted: the accuracy of fewer is chance


class Point(msgspec.Struct, frozen=True):
    """One choice of thresholds. `at_least` is the lower bound of its accuracy, as of one test."""

    accept: tuple[float, ...]
    coverage: float
    accuracy: float
    at_least: float
    asked: tuple[int, ...]
    taken: tuple[int, ...]


def point_of(outcome: Outcome, delta: float) -> Point:
    """Make a point of what a cascade came to; the accuracy of nothing is told as 1."""
    accuracy = 1.0 if outcome.accuracy is None else outcome.accuracy
    return Point(outcome.accept, outcome.coverage, accuracy, outcome.at_least(delta), outcome.asked, outcome.taken)


def curve_of(outcomes: Sequence[Outcome], delta: float) -> list[Point]:
    """Make points of cascades, those that accept too few rows to tell left out, each coverage once, by coverage."""
    by_coverage = {each.accepted: each for each in outcomes if each.accepted >= _LEAST_ROWS}
    return [point_of(by_coverage[accepted], delta) for accepted in sorted(by_coverage)]


def curve_alone(stage: StageAnswers, delta: float) -> list[Point]:
    """Give the curve of one stage that is asked about all rows, at up to 60 thresholds."""
    if not len(stage.scores):
        return []
    accept = np.unique(np.quantile(stage.scores, np.linspace(0, 1, _POINTS), method="lower"))
    return curve_of([run_cascade([stage], [least]) for least in accept.tolist()], delta)


def thinned(points: Sequence[Point], most: int, keep: Point | None = None) -> list[Point]:
    """Give at most `most` points, evenly over the coverage, with `keep` and both ends among them."""
    if len(points) <= most:
        return list(points)
    low, high = points[0].coverage, points[-1].coverage
    steps = np.linspace(low, high, most).tolist()
    nearest = [min(points, key=lambda each: abs(each.coverage - step)) for step in steps]
    if keep is not None:
        nearest[int(np.argmin([abs(step - keep.coverage) for step in steps]))] = keep
    return list({each.coverage: each for each in sorted(nearest, key=lambda each: each.coverage)}.values())
