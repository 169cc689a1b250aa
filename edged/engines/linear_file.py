"""The file of a classifier that counts words and pieces of words: a TF-IDF table and the weights of a logistic regression.

Format 1, an .npz of plain arrays:

    format           int64 = 1
    labels           <U [labels]
    words, chars     <U, in ascending order: n-grams of words, joined by a space; n-grams of the characters of one word
    word_range,      int64 [2]: the least and most n of each; characters are of the word with a space on both sides
    char_range
    idf              float32 [words + chars]
    coef, intercept  float32 [words + chars, labels], float64 [labels]
    lowercase        int64 0 or 1: texts are put into lower case first
    sublinear        int64 0 or 1: a count c weighs 1 + ln c
    split            int64 = words: both halves are scaled to length 1, each on its own

What is computed is that of scikit-learn's TfidfVectorizer (analyzers `word` and `char_wb`), FeatureUnion and LogisticRegression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.engines.learnt import Learnt

MAX_FEATURES = 1 << 20
MAX_WORDS = 3  # of one n-gram
MAX_CHARS = 8
_NUMBERS = ("word_range", "char_range", "idf", "coef", "intercept", "lowercase", "sublinear", "split")


@dataclass(frozen=True)
class Weights:
    """What the file says, with labels in the order that was asked for; features are the words, then the chars."""

    words: list[str]
    chars: list[str]
    word_range: tuple[int, int]
    char_range: tuple[int, int]
    idf: NDArray[np.float32]
    coef: NDArray[np.float32]
    intercept: NDArray[np.float64]
    lowercase: bool
    sublinear: bool


def read_weights(path: Path, labels: Sequence[str]) -> Weights:
    """Read the file; errors as `Learnt`, the code of what is wrong with it being `model-not-loadable`."""
    file = Learnt(path, _NUMBERS, ("words", "chars"))
    word_range, char_range = file.bounds("word_range", MAX_WORDS), file.bounds("char_range", MAX_CHARS)
    words, chars = _ngrams(file, "words"), _ngrams(file, "chars")
    features = len(words) + len(chars)
    if not 1 <= features <= MAX_FEATURES:
        raise file.wrong("words", f"and `chars` are {features} together, and not 1 to {MAX_FEATURES}")
    if not all(word_range[0] <= len(ngram.split(" ")) <= word_range[1] and "" not in ngram.split(" ") for ngram in words):
        raise file.wrong("words", f"has one that is not of {word_range[0]} to {word_range[1]} words")
    if not all(1 <= len(ngram) <= char_range[1] for ngram in chars):
        raise file.wrong("chars", f"has one that is not of 1 to {char_range[1]} characters")
    file.number("split", len(words), len(words))
    idf = file.floats("idf", np.float32, features).astype(np.float32)
    if not (idf > 0).all():
        raise file.wrong("idf", "has values that are not above 0")
    order = file.label_order(labels)
    return Weights(
        words,
        chars,
        word_range,
        char_range,
        idf,
        np.ascontiguousarray(file.floats("coef", np.float32, features, len(order))[:, order], np.float32),
        file.floats("intercept", np.float64, len(order))[order].astype(np.float64),
        bool(file.number("lowercase", 0, 1)),
        bool(file.number("sublinear", 0, 1)),
    )


def _ngrams(file: Learnt, name: str) -> list[str]:
    ngrams = file.texts(name)
    if any(a >= b for a, b in pairwise(ngrams)):
        raise file.wrong(name, "is not in ascending order, each once")
    return ngrams
