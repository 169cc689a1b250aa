"""The `linear` engine: classify a text by its words and pieces of words, in numpy and dictionaries.

Log-odds are the logarithms of the probabilities, as of scikit-learn's `predict_log_proba`. Texts in one call
do not change each other's scores by a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged import __version__
from edged.engines.base import Build
from edged.engines.linear_file import read_weights
from edged.engines.ngrams import Features, Ints
from edged.engines.text import TextUse, Written
from edged.errors import BugError, PublisherError

BATCH = 64


class LinearEngine:
    """A loaded classifier, see `TextEngine`."""

    def __init__(self, path: Path, use: TextUse) -> None:
        """Load the file at `path`; errors as `read_weights`, and PublisherError(`task-unsupported`) for another task than classify."""
        if use.task != "classify":
            raise PublisherError("task-unsupported", f"engine linear cannot {use.task}, only classify", "take engine llama")
        weights = read_weights(path, use.labels)
        self.build = Build("linear", "edged", __version__, "numpy")
        self.batch = BATCH
        self.values = len(use.labels)
        self.progress: Callable[[], None] = lambda: None
        self._features: Features | None = Features(weights)
        self._idf, self._coef, self._intercept = weights.idf, weights.coef, weights.intercept
        self._words, self._sublinear = len(weights.words), weights.sublinear

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Give the logarithm of each label's probability, float64 [n, labels]."""
        if self._features is None:
            raise BugError("engine-misused", "engine linear was asked after it was closed")
        logits = np.empty((len(texts), self.values))
        logits[:] = self._intercept
        row, feature, value = self._counted(*self._features.of(texts))
        if len(row):
            # Half 2 r is the words of text r, half 2 r + 1 its characters: each is scaled to length 1.
            half = 2 * row + (feature >= self._words)
            value /= np.sqrt(np.bincount(half, value * value))[half]
            self._add_products(logits, row, feature, value.astype(np.float32))
        logits -= logits.max(axis=1, keepdims=True, initial=-np.inf)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Nothing that it does: BugError."""
        raise BugError("engine-misused", "engine linear makes no embeddings")

    def write(self, texts: Sequence[str], deadline_ms: float) -> list[Written]:
        """Nothing that it does: BugError."""
        raise BugError("engine-misused", "engine linear writes no texts")

    def mib(self) -> float:
        """Give 0: it runs in this process."""
        return 0.0

    def close(self) -> None:
        """Give the memory back."""
        self._features = None
        self._idf = self._coef = np.empty(0, np.float32)

    def _add_products(self, logits: NDArray[np.float64], row: Ints, feature: Ints, value: NDArray[np.float32]) -> None:
        """Add to each text's logits its weights times the coefficients: text by text, whose few rows stay in the processor's cache."""
        first = _starts(row)
        ends = [*first[1:].tolist(), len(row)]
        for text, begin, end in zip(row[first].tolist(), first.tolist(), ends):
            logits[text] += value[begin:end] @ self._coef.take(feature[begin:end], axis=0)

    def _counted(self, row: Ints, feature: Ints) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """Give each pair of text and feature once, ordered by text and feature, with its weight before scaling: count × idf."""
        key = row * len(self._idf) + feature
        key.sort()
        first = _starts(key)
        count = np.empty(len(first))
        count[:-1], count[-1:] = first[1:] - first[:-1], len(key) - first[-1:]
        row, feature = np.divmod(key[first], len(self._idf))
        return row, feature, (1.0 + np.log(count) if self._sublinear else count) * self._idf[feature]


def _starts(ordered: Ints) -> Ints:
    """Give where each run of equal values begins."""
    new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return new.nonzero()[0]
