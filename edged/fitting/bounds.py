"""What counts of a sample say of the whole: exact binomial bounds, and the rows they need; pure.

Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the
binomial": the bound is the probability at which what was counted, or more, would be just unlikely
enough. Exact means that it holds for any count; it takes the rows for independent of each other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_STEPS = 60  # halvings of 0…1: to the last bits of a float
MOST_ROWS = 1 << 20  # nobody labels more by hand


def tail(count: int, n: int, p: float) -> float:
    """Give the probability of `count` or more successes in `n` trials of probability `p` each; 0 <= count <= n."""
    if count == 0 or p >= 1.0:
        return 1.0
    if p <= 0.0:
        return 0.0
    return _tail(_log_choose(count, n), count, n, p)


def lower_bound(count: int, n: int, delta: float) -> float:
    """Give what a probability is at least, where it came true `count` times in `n`; too high with probability `delta` at most.

    0 where nothing came true, or nothing was tried.
    """
    if count == 0:
        return 0.0
    choose = _log_choose(count, n)
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _tail(choose, count, n, middle) > delta:
            high = middle
        else:
            low = middle
    return low


def interval(count: int, n: int, confidence: float) -> tuple[float, float]:
    """Give the two-sided interval of a probability that came true `count` times in `n`."""
    delta = (1.0 - confidence) / 2
    return lower_bound(count, n, delta), 1.0 - lower_bound(n - count, n, delta)


def least_rows(target: float, delta: float) -> int:
    """Give how many rows, all of them right, show that `target` is kept: target**n <= delta; for 0 < target < 1."""
    return math.ceil(math.log(delta) / math.log(target) - 1e-9)


def rows_for(target: float, delta: float, accuracy: float) -> int | None:
    """Give about how many rows show `target` where this part of them is right; None: no number that anybody has."""
    n = least_rows(target, delta)
    if accuracy <= target:
        return None
    while tail(math.floor(accuracy * n), n, target) > delta:
        n = n * 5 // 4 + 1
        if n > MOST_ROWS:
            return None
    return n


def _log_choose(count: int, n: int) -> NDArray[np.float64]:
    """Give log (n over k) for k of count…n."""
    log_factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    return log_factorials[n] - log_factorials[count:] - log_factorials[: n - count + 1][::-1]


def _tail(choose: NDArray[np.float64], count: int, n: int, p: float) -> float:
    k = np.arange(count, n + 1)
    terms = choose + k * math.log(p) + (n - k) * math.log1p(-p)
    return min(1.0, float(np.exp(terms).sum()))
