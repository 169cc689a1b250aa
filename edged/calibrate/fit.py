"""Find what each term of a model's cost costs, from nets that were measured: least squares, and no price below zero.

Each row is weighted by what was measured in all, so a relative error counts the same for a small net
and a large one. There are at most six terms: every subset of them is solved, and the best whose prices
are all positive is taken. That is the exact answer, and short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Row = tuple[Mapping[str, float], float]  # how often each term, and what it took in all


def fit(rows: Sequence[Row], names: Sequence[str], beside: float, least: Mapping[str, float] | None = None) -> dict[str, float]:
    """Give the price of each of `names`, none below its `least` (0 where it has none); `beside` is what each row took beside its terms."""
    lowest = np.array([(least or {}).get(name, 0.0) for name in names])
    amounts = np.array([[float(terms.get(name, 0)) for name in names] for terms, _ in rows])
    took = np.array([value for _, value in rows])
    weights = 1 / (took + beside)
    above = _positive(amounts * weights[:, None], (took - amounts @ lowest) * weights)
    return dict(zip(names, (lowest + above).tolist()))


def _positive(amounts: NDArray[np.float64], took: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve min |amounts · x − took| for x >= 0."""
    count = amounts.shape[1]
    scale = np.maximum(np.abs(amounts).max(axis=0, initial=0.0), 1e-300)  # terms differ by many powers of ten
    best, error = np.zeros(count), float(took @ took)
    for size in range(1, count + 1):
        for subset in combinations(range(count), size):
            columns = list(subset)
            found = np.linalg.lstsq(amounts[:, columns] / scale[columns], took, rcond=None)[0]
            if (found < 0).any():
                continue
            missed = amounts[:, columns] / scale[columns] @ found - took
            if missed @ missed < error:
                best = np.zeros(count)
                best[columns], error = found / scale[columns], float(missed @ missed)
    return best
