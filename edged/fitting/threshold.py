"""The threshold of an anomaly score that clean windows pass seldom enough, with a stated bound; pure.

The k-th smallest of n independent scores has at least the part q of all scores below it with
probability P(Bin(n, q) <= k - 1), whatever their distribution is (Wilks 1941, "Determination of sample
sizes for setting tolerance limits"). The smallest k that makes this sure enough is the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

from edged.fitting.bounds import least_rows, lower_bound, tail
from edged.stream.postprocess import SIGNIFICANT

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A threshold, and what is known of it.

    value      the score where an anomaly begins
    beyond     clean windows of the sample that would be called anomalous
    windows    of the sample
    most       the rate of false alarms that is kept with the asked confidence
    needed     windows that the asked rate needs at least; above `windows` the asked rate was not reached, see `most`
    """

    value: float
    beyond: int
    windows: int
    most: float
    needed: int


def fit_threshold(scores: Floats, rate: float, confidence: float, anomalous: str = "above") -> Threshold:
    """Find the threshold nearest to the clean scores, float64 [n >= 1] and finite, beyond which at most the part `rate` lies.

    With fewer windows than the bound needs, the threshold lies beyond all of them, and `most` says what
    that much is worth. `anomalous` as in [output]: on which side of the threshold an anomaly is.
    """
    sign = 1.0 if anomalous == "above" else -1.0
    ordered = np.sort(scores * sign)
    n, delta = len(ordered), 1.0 - confidence
    needed = least_rows(1.0 - rate, delta)
    value = _past(float(ordered[n - 1 - _allowed(n, rate, delta)]) * sign, anomalous == "above")
    beyond = int((ordered >= value * sign).sum())
    most = 1.0 - lower_bound(n - beyond, n, delta)
    return Threshold(value, beyond, n, most if n < needed else rate, needed)


def _allowed(n: int, rate: float, delta: float) -> int:
    """Give the most windows of n that may lie beyond: the largest m with P(Bin(n, rate) <= m) <= delta; 0 where there is none."""
    low, high = 0, n  # the answer is in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if 1.0 - tail(middle + 1, n, rate) <= delta:
            low = middle
        else:
            high = middle
    return low


def _past(score: float, above: bool) -> float:
    """Give the next number beyond `score` of as many digits as results have: a score equal to the threshold is an anomaly."""
    digits = Context(prec=SIGNIFICANT, Emin=-290)  # so that what follows zero is a float
    exact = Decimal(repr(score))
    return float(exact.next_plus(digits) if above else exact.next_minus(digits))
