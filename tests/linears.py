"""Small files of engine linear and of heads, written by hand for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABELS = ("pump", "valve")
SHA256 = "ab" * 32


def linear_arrays() -> dict[str, NDArray[Any]]:
    """Give the arrays of a classifier that knows a few words: `leak` and `oil leak` speak for a pump, `stuck` for a valve."""
    words, chars = ["leak", "oil leak", "stuck"], [" st", "ak ", "l"]
    coef = np.array([[2, 0], [3, 0], [0, 4], [0, 1], [1, 0], [0.5, 0.5]], np.float32)
    return {
        "format": np.int64(1),
        "labels": np.array(LABELS),
        "words": np.array(words),
        "word_range": np.array([1, 2]),
        "chars": np.array(chars),
        "char_range": np.array([1, 3]),
        "idf": np.array([1, 2, 1.5, 1, 1, 1], np.float32),
        "coef": coef,
        "intercept": np.array([0.25, 0.0]),
        "lowercase": np.int64(1),
        "sublinear": np.int64(1),
        "split": np.int64(3),
    }


def head_arrays() -> dict[str, NDArray[Any]]:
    """Give the arrays of a head on embeddings of three values."""
    return {
        "format": np.int64(1),
        "labels": np.array(LABELS),
        "mean": np.array([1, 0, 0], np.float32),
        "scale": np.array([2, 1, 1], np.float32),
        "coef": np.array([[1, 0], [0, 1], [0.5, 0]], np.float32),
        "intercept": np.array([0.0, 0.5]),
        "pooling": np.array("mean"),
        "model": np.array(SHA256),
    }


def written(path: Path, arrays: dict[str, NDArray[Any]], **changes: Any) -> Path:
    """Write arrays to `path`, those in `changes` changed or, where None, left out."""
    kept = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    np.savez_compressed(path, **kept)
    return path
