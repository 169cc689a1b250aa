"""Statistics of a window's columns: stats.

With x the n values of one column, m its mean and m2, m3, m4 its central moments:

mean            m
std             sqrt(n m2 / (n - 1))
rms             sqrt(mean(x²))
min, max        least and greatest value
peak_to_peak    max - min
abs_sum         sum |x|
abs_mean        mean |x|
skew            sqrt(n (n - 1)) / (n - 2) · m3 / m2^1.5                              scipy.stats.skew(bias=False)
kurtosis        (n - 1) / ((n - 2) (n - 3)) · ((n + 1) (m4 / m2² - 3) + 6)           scipy.stats.kurtosis(bias=False), 0 for a normal
crest           max |x| / rms
zero_crossings  how many neighbours lie on different sides of 0, where 0 itself counts as above

Where all values are the same, `skew` and `kurtosis` are 0; where all are 0, `crest` is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edged.preprocess import ops
from edged.preprocess.form import Array, Form, Refusal, Step, rows_and_columns

Floats = NDArray[np.float64]

_LEAST = {"std": 2, "skew": 3, "kurtosis": 4}  # samples without which the unbiased form divides by 0


def stats(op: ops.Stats, form: Form) -> tuple[Step, Form]:
    """Compile `stats`: float32 [columns * len(of)]; what does not fit float32 becomes inf."""
    rows, columns = rows_and_columns(form)
    after = Form((columns * len(op.of),))
    least = max(op.of, key=lambda name: _LEAST.get(name, 1))
    if rows < _LEAST.get(least, 1):
        raise Refusal(f"`{least}` needs {_LEAST[least]} samples, and gets {rows}", "make the window longer", after)
    chosen = [_STATISTICS[name] for name in op.of]
    grouped = (columns, len(chosen)) if op.by == "channel" else (len(chosen), columns)

    def step(windows: Array) -> Array:
        moments = _Moments(windows.transpose(0, 2, 1).astype(np.float64, order="C"))
        out = np.empty((len(windows), *grouped), dtype=np.float32)
        by_stat = out.transpose(2, 0, 1) if op.by == "channel" else out.transpose(1, 0, 2)
        for row, statistic in zip(by_stat, chosen):
            row[...] = statistic(moments)
        return out.reshape(len(windows), after.size)

    return step, after


class _Moments:
    """Columns of windows, [n, columns, samples], and what several statistics need of them, each computed once."""

    def __init__(self, values: Floats) -> None:
        self.values = values
        self.count = values.shape[2]

    @cached_property
    def shifted(self) -> Floats:
        """The values minus the first: exactly 0 where all are the same, and no digits lost to a large mean."""
        return self.values - self.values[:, :, :1]

    @cached_property
    def shift(self) -> Floats:
        return np.add.reduce(self.shifted, axis=2) / self.count

    @cached_property
    def centred(self) -> Floats:
        return self.shifted - self.shift[:, :, None]

    @cached_property
    def squares(self) -> Floats:
        return self.centred * self.centred

    @cached_property
    def second(self) -> Floats:
        return np.add.reduce(self.squares, axis=2) / self.count

    @cached_property
    def sizes(self) -> Floats:
        return np.abs(self.values)

    @cached_property
    def rms(self) -> Floats:
        return np.sqrt(np.add.reduce(self.values * self.values, axis=2) / self.count)

    @cached_property
    def least(self) -> Floats:
        return np.minimum.reduce(self.values, axis=2)

    @cached_property
    def greatest(self) -> Floats:
        return np.maximum.reduce(self.values, axis=2)

    @cached_property
    def abs_sum(self) -> Floats:
        return np.add.reduce(self.sizes, axis=2)


def _skew(x: _Moments) -> Floats:
    n = x.count
    third = np.add.reduce(x.squares * x.centred, axis=2) / n
    return np.sqrt(n * (n - 1)) / (n - 2) * _ratio(third, x.second**1.5)


def _kurtosis(x: _Moments) -> Floats:
    n = x.count
    fourth = np.add.reduce(x.squares * x.squares, axis=2) / n
    unbiased = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (_ratio(fourth, x.second**2) - 3.0) + 6.0)
    return np.where(x.second > 0.0, unbiased, 0.0)


def _zero_crossings(x: _Moments) -> Floats:
    below = x.values < 0.0
    return np.add.reduce(below[:, :, 1:] != below[:, :, :-1], axis=2, dtype=np.float64)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide, with 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0.0)


_STATISTICS: dict[str, Callable[[_Moments], Floats]] = {
    "mean": lambda x: x.values[:, :, 0] + x.shift,
    "std": lambda x: np.sqrt(x.second * (x.count / (x.count - 1))),
    "rms": lambda x: x.rms,
    "min": lambda x: x.least,
    "max": lambda x: x.greatest,
    "peak_to_peak": lambda x: x.greatest - x.least,
    "abs_sum": lambda x: x.abs_sum,
    "abs_mean": lambda x: x.abs_sum / x.count,
    "skew": _skew,
    "kurtosis": _kurtosis,
    "crest": lambda x: _ratio(np.maximum.reduce(x.sizes, axis=2), x.rms),
    "zero_crossings": _zero_crossings,
}
