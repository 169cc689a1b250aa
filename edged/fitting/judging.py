"""What a variant's answers to labelled rows are worth: from scores to accuracy, calibration, precision, recall; and its cost."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.fitting import metrics
from edged.fitting.bounds import interval
from edged.fitting.cascade import StageAnswers
from edged.fitting.labelled import Labelled
from edged.fitting.running import Ran
from edged.models.manifest import Release, Variant, variant_files
from edged.stream.postprocess import SIGNIFICANT

CONFIDENCE = 0.95
_FORMAT = f"%.{SIGNIFICANT}g"


class LabelFound(msgspec.Struct, frozen=True):
    """One label of one variant: rows that have it, answers with it, right ones; None where there is nothing to divide by."""

    label: str
    rows: int
    answered: int
    precision: float | None
    recall: float | None


class Cost(msgspec.Struct, frozen=True):
    """What a variant takes here. `p50_ms` and `p99_ms` are of inputs one at a time, `per_s` of calls of as many as pay."""

    bytes: int
    mib: float
    load_ms: float
    p50_ms: float
    p99_ms: float
    per_s: float
    runtime: str


class Classified(msgspec.Struct, frozen=True):
    """A variant of task classify. `ece` is the calibration error as released, `ece_uncalibrated` that at temperature 1."""

    variant: str
    accuracy: float
    interval: tuple[float, float]
    right: int
    rows: int
    without_answer: int
    temperature: float
    ece: float
    ece_uncalibrated: float
    labels: list[LabelFound]
    cost: Cost
    no_better: bool  # than answering the most frequent label, as far as these rows tell


class Scored(msgspec.Struct, frozen=True):
    """A variant of task anomaly. Precision and recall are at the release's threshold."""

    variant: str
    auc: float | None
    precision: float | None
    recall: float | None
    false_alarms: float | None  # part of the clean windows that is called anomalous
    rows: int
    without_answer: int
    cost: Cost


def stage_answers(variant: Variant, kind: str, scores: NDArray[np.float64], truth: NDArray[np.intp], temperature: float) -> StageAnswers:
    """Give the leading scores as results give them, at a temperature, and whether they are right.

    An answer without a number has the score 0, and is wrong.
    """
    answered = np.isfinite(scores).all(axis=1)
    shown = _at_temperature(kind, np.where(answered[:, None], scores, 0.0), temperature)
    return StageAnswers(variant.name, rounded(np.where(answered, shown.max(axis=1), 0.0)), answered & (shown.argmax(axis=1) == truth))


def _at_temperature(kind: str, scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Give scores [n, labels] of temperature 1 as a variant with another gives them; those of windows have none."""
    return metrics.scores_of(log_odds(scores), temperature) if kind == "text" else scores


def log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the finite logarithms of scores [n, labels]: log-odds that give them again."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(scores), metrics.FLOOR)


def classified(release: Release, variant: Variant, ran: Ran, data: Labelled) -> Classified:
    """Judge a variant of task classify. A row without an answer is a wrong one."""
    labels, kind = release.manifest.output.labels, release.manifest.input.kind
    answered = np.isfinite(ran.scores).all(axis=1)
    plain = stage_answers(variant, kind, ran.scores[answered], data.truth[answered], 1.0)
    shown = stage_answers(variant, kind, ran.scores[answered], data.truth[answered], variant.temperature)
    counts = metrics.confusion(data.truth[answered], ran.scores[answered].argmax(axis=1), len(labels))
    right, rows = int(shown.right.sum()), len(data)
    bounds = interval(right, rows, CONFIDENCE)
    found = [LabelFound(each.label, each.support, each.answered, each.precision, each.recall) for each in metrics.by_label(counts, labels)]
    return Classified(
        variant.name, right / rows, bounds, right, rows, int((~answered).sum()), variant.temperature,
        metrics.calibration_error(shown.scores, shown.right), metrics.calibration_error(plain.scores, plain.right),
        found, _cost(release, variant, ran), bool(bounds[0] <= np.bincount(data.truth).max() / rows),
    )  # fmt: skip


def scored(release: Release, variant: Variant, ran: Ran, data: Labelled) -> Scored:
    """Judge a variant of task anomaly."""
    output = release.manifest.output
    assert output.threshold is not None  # rules of the manifest
    answered = np.isfinite(ran.scores)
    scores, truth = rounded(ran.scores[answered]), data.truth[answered]
    below = output.anomalous == "below"
    called = scores <= output.threshold if below else scores >= output.threshold
    sign = -1.0 if below else 1.0
    hit, anomalous, clean = int((called & (truth == 1)).sum()), int((truth == 1).sum()), int((truth == 0).sum())
    return Scored(
        variant.name, metrics.area_under_curve(scores[truth == 0] * sign, scores[truth == 1] * sign),
        hit / int(called.sum()) if called.any() else None, hit / anomalous if anomalous else None,
        (int(called.sum()) - hit) / clean if clean else None, len(data), int((~answered).sum()), _cost(release, variant, ran),
    )  # fmt: skip


def _cost(release: Release, variant: Variant, ran: Ran) -> Cost:
    golden = variant.golden.file if variant.golden else ""
    size = sum(release.path_of_file(name).stat().st_size for name in variant_files(variant) if name != golden)
    p50, p99 = np.percentile(ran.alone_ms, [50, 99], method="higher").tolist()
    return Cost(size, ran.mib, ran.load_ms, p50, p99, ran.per_s, ran.runtime)


def rounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give scores [n] as results give them."""
    return np.array([float(_FORMAT % value) for value in scores.tolist()])
