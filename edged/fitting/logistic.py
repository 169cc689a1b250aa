"""Fit the weights of a `linear` model and of a head with scikit-learn, and give them as the arrays of their files.

The strengths of the penalties were found on maintenance work orders, with 700 and with 60 of them: weaker ones (inverse 100 for
words, 1 for heads) changed no accuracy by a point, stronger ones (1 and 0.01) cost two points and more.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.head import POOLING
from edged.engines.learnt import FORMAT
from edged.errors import OperatorError

Arrays = dict[str, NDArray[Any]]
Ints = NDArray[np.intp]

WORDS, CHARS = (1, 2), (2, 5)  # n-grams
MAX_COEFFICIENTS = 1 << 22  # features × labels: 16 MiB
MAX_NGRAM = 64  # characters; longer ones are no words of people
_WORD_FEATURES, _CHAR_FEATURES = 20_000, 30_000
_INVERSE_PENALTY_WORDS, _INVERSE_PENALTY_HEAD = 30.0, 0.1
_STEPS = 2000
_ABSENT = -30.0  # log-odds of a label without a row among those that were fitted on


def need_scikit_learn() -> None:
    """Raise OperatorError(`fit-missing`) where it is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        hint = "install it on the machine where you fit, not on the board: pip install 'edged[fit]'"
        raise OperatorError("fit-missing", "fitting needs the Python package scikit-learn", hint) from None


def fit_words(texts: Sequence[str], truth: Ints, labels: Sequence[str]) -> Arrays:
    """Fit words and pieces of words on texts [n] and their labels [n]; give the arrays of a file of engine linear."""
    from scipy.sparse import hstack

    limit = MAX_COEFFICIENTS // len(labels)
    words, by_word = _half("word", WORDS, min(_WORD_FEATURES, limit * 2 // 5), texts)
    chars, by_char = _half("char_wb", CHARS, min(_CHAR_FEATURES, limit * 3 // 5), texts)
    halves = [half for half in (by_word, by_char) if half is not None]
    features = hstack([half.transform(texts) for half in halves]).tocsr()
    coef, intercept = _regression(features, truth, len(labels), _INVERSE_PENALTY_WORDS)
    return {
        "format": np.array(FORMAT, np.int64),
        "labels": np.array(labels, np.str_),
        "words": np.array(words, np.str_),
        "word_range": np.array(WORDS, np.int64),
        "chars": np.array(chars, np.str_),
        "char_range": np.array(CHARS, np.int64),
        "idf": np.concatenate([half.idf_ for half in halves]).astype(np.float32),
        "coef": coef.astype(np.float32),
        "intercept": intercept,
        "lowercase": np.array(1, np.int64),
        "sublinear": np.array(1, np.int64),
        "split": np.array(len(words), np.int64),
    }


def fit_head(embeddings: NDArray[np.float32], truth: Ints, labels: Sequence[str], model_sha256: str) -> Arrays:
    """Fit a head on embeddings [n, width] and their labels [n]; give the arrays of its file."""
    mean, scale = embeddings.mean(axis=0, dtype=np.float64), embeddings.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1.0
    mean, scale = mean.astype(np.float32), scale.astype(np.float32)
    coef, intercept = _regression((embeddings - mean) / scale, truth, len(labels), _INVERSE_PENALTY_HEAD)
    return {
        "format": np.array(FORMAT, np.int64),
        "labels": np.array(labels, np.str_),
        "mean": mean,
        "scale": scale,
        "coef": coef.astype(np.float32),
        "intercept": intercept,
        "pooling": np.array(POOLING),
        "model": np.array(model_sha256),
    }


def _half(analyzer: str, ngrams: tuple[int, int], most: int, texts: Sequence[str]) -> tuple[list[str], Any]:
    """Give the most frequent n-grams in ascending order, and what weighs them by TF-IDF; None for it where texts have none.

    Without those that an array of texts would spoil or be wide for: it drops a NUL at an end.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        found = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, max_features=max(1, most)).fit(texts).vocabulary_
    except ValueError:  # no text has a word of two characters
        return [], None
    kept = sorted(ngram for ngram in found if len(ngram) <= MAX_NGRAM and "\0" not in ngram)
    if not kept:
        return [], None
    return kept, TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, sublinear_tf=True, vocabulary=kept).fit(texts)


def _regression(features: Any, truth: Ints, labels: int, inverse_penalty: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a multinomial logistic regression; give coefficients [features, labels] and intercepts [labels]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # one of scikit-learn's own dependencies

    model = LogisticRegression(C=inverse_penalty, max_iter=_STEPS)
    # The vectors are short: threads of BLAS would wait for each other, and cost ten times the time.
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it is worth is measured on held-out rows, converged or not
        model.fit(features, truth)
    fitted, fitted_intercept = model.coef_.T, model.intercept_
    if fitted.shape[1] == 1:  # of two labels scikit-learn keeps the second one's alone
        fitted, fitted_intercept = np.hstack([np.zeros_like(fitted), fitted]), np.append(0.0, fitted_intercept)
    coef, intercept = np.zeros((fitted.shape[0], labels)), np.full(labels, _ABSENT)
    coef[:, model.classes_], intercept[model.classes_] = fitted, fitted_intercept
    return coef, intercept
