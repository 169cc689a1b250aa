"""How good answers are against the truth: accuracy by label, calibration, the order of anomaly scores; pure.

Truths and answers are indices of labels, int [n]; log-odds are float64 [n, labels].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

BINS = 15
FLOOR = -700.0  # log-odds below the leader's: exp of less is no float
_COOLEST, _HOTTEST = 0.05, 50.0
_STEPS = 60


@dataclass(frozen=True)
class LabelQuality:
    """How well one label is found. `precision` is None where it was never answered, `recall` where no row has it."""

    label: str
    support: int
    answered: int
    right: int

    @property
    def precision(self) -> float | None:
        """Give the part of the answers with this label that are right."""
        return self.right / self.answered if self.answered else None

    @property
    def recall(self) -> float | None:
        """Give the part of the rows of this label that got it."""
        return self.right / self.support if self.support else None


def confusion(truth: Ints, answer: Ints, labels: int) -> NDArray[np.int64]:
    """Count rows [labels, labels] by truth and answer."""
    return np.bincount(truth * labels + answer, minlength=labels * labels).reshape(labels, labels)


def by_label(counts: NDArray[np.int64], labels: list[str]) -> list[LabelQuality]:
    """Judge each label by its row and column of `confusion`."""
    rows = zip(labels, counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist(), np.diag(counts).tolist())
    return [LabelQuality(*row) for row in rows]


def scores_of(log_odds: Floats, temperature: float = 1.0) -> Floats:
    """Give softmax(log-odds / temperature) [n, labels]."""
    return np.exp(_log_scores(log_odds, temperature))


def fit_temperature(log_odds: Floats, truth: Ints) -> float:
    """Find the temperature with the likeliest truth, between 0.05 and 50 (1 of no rows); leading labels stay as they are.

    Guo et al. 2017, "On calibration of modern neural networks", section 4.2. The targets are smoothed by
    one row's worth, as Platt 1999 does: a model that errs in no row of these is not sure for that reason.
    The negative log-likelihood is convex in 1 / temperature, so a golden-section search finds its least.
    """
    n, labels = log_odds.shape
    if not n:
        return 1.0
    share = 1.0 / (n + 2)
    target = np.full(log_odds.shape, share / labels)
    target[np.arange(n), truth] += 1.0 - share

    def loss(log_temperature: float) -> float:
        return -float((target * _log_scores(log_odds, float(np.exp(log_temperature)))).sum())

    ratio = (5**0.5 - 1) / 2
    low, high = np.log(_COOLEST), np.log(_HOTTEST)
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return float(f"{np.exp((low + high) / 2):.4g}")


def calibration_error(scores: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Give the expected calibration error of leading scores [n] against whether they were right [n]; 0 of no rows.

    Guo et al. 2017, section 2: bins of equal width, each from above its lower edge to its upper one;
    the differences of mean score and accuracy, weighted by rows.
    """
    if not len(scores):
        return 0.0
    index = np.clip(np.ceil(scores * bins).astype(np.intp) - 1, 0, bins - 1)
    gaps = np.bincount(index, scores - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(scores))


def area_under_curve(clean: Floats, anomalous: Floats) -> float | None:
    """Give the probability that an anomalous score is above a clean one, equal ones counted half (Mann and Whitney 1947).

    None where one of the two kinds has no rows.
    """
    if not len(clean) or not len(anomalous):
        return None
    order = np.sort(clean)
    below, up_to = np.searchsorted(order, anomalous, "left"), np.searchsorted(order, anomalous, "right")
    return float((below + up_to).sum() / 2 / (len(clean) * len(anomalous)))


def _log_scores(log_odds: Floats, temperature: float) -> Floats:
    scaled = np.maximum(log_odds - log_odds.max(axis=1, keepdims=True), FLOOR) / temperature
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
