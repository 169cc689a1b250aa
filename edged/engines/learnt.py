"""Read the weights of a fitted classifier from an .npz that may be hostile, and hold each array to what it must be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.errors import BoardError, PublisherError
from edged.npz import Array, read_arrays

FORMAT = 1  # of the files of engine linear and of heads
MAX_LABELS = 10_000
MOST = 1e9


class Learnt:
    """The arrays of one file; each method gives one, or raises PublisherError(`model-not-loadable`) that says what is wrong with it."""

    def __init__(self, path: Path, numbers: Sequence[str], texts: Sequence[str]) -> None:
        """Read the arrays called so; BoardError(`model-file-missing`) where there is no such file."""
        self._path = path
        if not path.is_file():
            raise BoardError("model-file-missing", f"there is no file {path}", "install the model again")
        try:
            self._arrays: dict[str, Array] = read_arrays(path, ("format", "labels", *numbers, *texts), ("labels", *texts))
        except PublisherError as error:
            raise not_loadable(error.text) from None
        if self.number("format", 0, 1 << 62) != FORMAT:
            raise self.wrong("format", f"is not {FORMAT}; a newer edged may know it")

    def number(self, name: str, least: int, most: int) -> int:
        """Give a single int64."""
        array = self._of(name, np.int64, ())
        if not least <= int(array) <= most:
            raise self.wrong(name, f"is {array}, and not {least} to {most}")
        return int(array)

    def bounds(self, name: str, most: int) -> tuple[int, int]:
        """Give two int64, the first at least 1 and not above the second."""
        low, high = self._of(name, np.int64, (2,)).tolist()
        if not 1 <= low <= high <= most:
            raise self.wrong(name, f"is {low} to {high}, and not within 1 to {most}")
        return low, high

    def floats(self, name: str, dtype: type[np.floating[Any]], *shape: int) -> NDArray[np.floating[Any]]:
        """Give numbers of this type and shape, of a size that weights have."""
        array = self._of(name, dtype, shape)
        if not (np.abs(array) <= MOST).all():  # nor NaN
            raise self.wrong(name, f"has values that are not within ±{MOST:g}")
        return array  # type: ignore[return-value]

    def rows(self, name: str) -> int:
        """Give the length of an array."""
        shape = self._arrays[name].shape
        if not shape:
            raise self.wrong(name, "is a single value, and a list is wanted")
        return shape[0]

    def texts(self, name: str) -> list[str]:
        """Give a list of texts."""
        array = self._arrays[name]
        if array.ndim != 1:
            raise self.wrong(name, f"has shape {list(array.shape)}, and a list is wanted")
        return array.tolist()

    def text(self, name: str) -> str:
        """Give a single text."""
        array = self._arrays[name]
        if array.ndim:
            raise self.wrong(name, f"has shape {list(array.shape)}, and a single text is wanted")
        return str(array)

    def label_order(self, wanted: Sequence[str]) -> list[int]:
        """Give where each wanted label stands among the file's own, which are the same in any order."""
        labels = self.texts("labels")
        if not 1 <= len(labels) <= MAX_LABELS:
            raise self.wrong("labels", f"are {len(labels)}, and not 1 to {MAX_LABELS}")
        at = {label: i for i, label in enumerate(labels)}
        if len(at) != len(labels):
            raise self.wrong("labels", "has one of them twice")
        missing, more = [each for each in wanted if each not in at], [each for each in at if each not in set(wanted)]
        if missing or more:
            differ = [f"{word} {', '.join(map(repr, each[:3]))}" for word, each in (("lacks", missing), ("has", more)) if each]
            raise self.wrong("labels", f"are not those of the manifest: it {' and '.join(differ)}")
        return [at[label] for label in wanted]

    def wrong(self, name: str, text: str) -> PublisherError:
        """Make the error that says what is wrong with an array."""
        return not_loadable(f"`{self._path.name}`: array `{name}` {text}")

    def _of(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> Array:
        array = self._arrays[name]
        if array.dtype != dtype or array.shape != shape:
            wanted = f"{np.dtype(dtype)} {list(shape)}"
            raise self.wrong(name, f"is {array.dtype} {list(array.shape)}, and {wanted} is wanted")
        return array


def not_loadable(text: str) -> PublisherError:
    """Make the error for a file that is not what `edged fit classifier` writes."""
    return PublisherError("model-not-loadable", text, "fit it again with `edged fit classifier`")
