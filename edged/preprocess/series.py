"""Along the samples, or over the channels, and still a series: detrend, diff, magnitude."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edged.preprocess import ops
from edged.preprocess.form import Array, Form, Refusal, Step, rows_and_columns


def detrend(op: ops.Detrend, form: Form) -> tuple[Step, Form]:
    """Compile `detrend`: minus the least-squares line, as scipy.signal.detrend(type="linear"). Needs 2 samples."""
    rows, _ = rows_and_columns(form)
    if rows < 2:
        raise Refusal("needs 2 samples for a line, and gets 1", "make the window longer", form)
    ticks = np.arange(rows) - (rows - 1) / 2
    line = np.stack([np.ones(rows), ticks], axis=1)
    fit = line.T / np.array([[rows], [ticks @ ticks]])

    def step(windows: Array) -> Array:
        series = windows.astype(np.float64, order="C")  # a slope is lost in float32 under a large mean
        series -= line @ (fit @ series)
        return series.astype(np.float32)

    return step, form


def diff(op: ops.Diff, form: Form) -> tuple[Step, Form]:
    """Compile `diff`: x[i + 1] - x[i], one row fewer."""
    rows, columns = rows_and_columns(form)
    if rows < 2:
        raise Refusal("needs 2 samples, and gets 1", "make the window longer")

    def step(windows: Array) -> Array:
        return windows[:, 1:] - windows[:, :-1]

    return step, replace(form, shape=(rows - 1, columns))


def magnitude(op: ops.Magnitude, form: Form) -> tuple[Step, Form]:
    """Compile `magnitude`: the square root of the sum of squares over the channels."""
    rows, columns = rows_and_columns(form)
    ones = np.ones((columns, 1))

    def step(windows: Array) -> Array:
        squares = np.square(windows, dtype=np.float64, order="C")  # squares beyond float32 have a root within it
        return np.sqrt(squares @ ones).astype(np.float32)

    return step, replace(form, shape=(rows, 1), names=("magnitude",))
