"""One row of scores from the last rows of the same stream; float64 [values] in and out.

    mean   of the last `windows` rows
    ewma   s = alpha·row + (1 - alpha)·s with alpha = 2 / (windows + 1), beginning at the first row
    vote   each row votes for its largest value; the scores are the shares of the last `windows`
           votes, and of equal shares the label voted for last leads

Until `windows` rows have come, the rows there are count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edged.models.schema import Smooth

Row = NDArray[np.float64]


class Smoother(Protocol):
    """The memory of one stream."""

    def add(self, row: Row) -> tuple[Row, int]:
        """Take the newest row; give the smoothed one, and which of its values leads."""

    def clear(self) -> None:
        """Forget all rows."""

    def dump(self) -> bytes:
        """Give the memory, little-endian."""

    def restore(self, memory: bytes, width: int) -> None:
        """Go on with what `dump` gave, where nothing was added yet; ValueError where it is no memory of rows of `width` values."""


def make_smoother(smooth: Smooth | None) -> Smoother:
    """Make the memory for a new stream."""
    if smooth is None:
        return _Plain()
    return _SMOOTHERS[smooth.op](smooth.windows)


class _Plain:
    def add(self, row: Row) -> tuple[Row, int]:
        return row, int(row.argmax())

    def clear(self) -> None:
        pass

    def dump(self) -> bytes:
        return b""

    def restore(self, memory: bytes, width: int) -> None:
        _rows(memory, width, 0)


class _Mean:
    def __init__(self, windows: int) -> None:
        self._rows: deque[Row] = deque(maxlen=windows)

    def add(self, row: Row) -> tuple[Row, int]:
        self._rows.append(row)
        # Summed anew each time: a running sum would carry its rounding errors for months.
        mean = np.mean(np.asarray(self._rows), axis=0)
        return mean, int(mean.argmax())

    def clear(self) -> None:
        self._rows.clear()

    def dump(self) -> bytes:
        return np.array(self._rows, "<f8").tobytes()

    def restore(self, memory: bytes, width: int) -> None:
        self._rows.extend(_rows(memory, width, self._rows.maxlen))


class _Ewma:
    def __init__(self, windows: int) -> None:
        self._alpha = 2.0 / (windows + 1)
        self._level: Row | None = None

    def add(self, row: Row) -> tuple[Row, int]:
        level = row if self._level is None else self._alpha * row + (1.0 - self._alpha) * self._level
        self._level = level
        return level, int(level.argmax())

    def clear(self) -> None:
        self._level = None

    def dump(self) -> bytes:
        return b"" if self._level is None else self._level.astype("<f8").tobytes()

    def restore(self, memory: bytes, width: int) -> None:
        for row in _rows(memory, width, 1):
            self._level = row


class _Vote:
    def __init__(self, windows: int) -> None:
        self._votes: deque[int] = deque(maxlen=windows)

    def add(self, row: Row) -> tuple[Row, int]:
        self._votes.append(int(row.argmax()))
        counts = np.bincount(self._votes, minlength=len(row))
        most = counts.max()
        leader = next(vote for vote in reversed(self._votes) if counts[vote] == most)
        return counts / len(self._votes), leader

    def clear(self) -> None:
        self._votes.clear()

    def dump(self) -> bytes:
        return np.array(self._votes, "<u4").tobytes()

    def restore(self, memory: bytes, width: int) -> None:
        votes = np.frombuffer(memory, "<u4").tolist()
        if len(votes) > (self._votes.maxlen or 0) or any(vote >= width for vote in votes):
            raise ValueError("votes that do not fit")
        self._votes.extend(votes)


def _rows(memory: bytes, width: int, most: int | None) -> NDArray[np.float64]:
    rows = np.frombuffer(memory, "<f8").astype(np.float64).reshape(-1, width)
    if len(rows) > (most or 0) or not np.isfinite(rows).all():
        raise ValueError("scores that do not fit")
    return rows


_SMOOTHERS: dict[str, Callable[[int], Smoother]] = {"mean": _Mean, "ewma": _Ewma, "vote": _Vote}
