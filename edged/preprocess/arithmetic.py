"""Value by value: scale, offset, zscore, minmax, clip.

The first four are one form, `(x - centre) * factor`, and neighbours fuse into one. Subtracting
first keeps what a mean far from zero would cost `x * a + b` in float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.preprocess import ops
from edged.preprocess.form import Array, Form, Refusal, Step

_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)


class Affine:
    """`(x - centre) * factor`, over the last axis.

    centre, factor  float64, a number each or one per column; no factor is 0
    """

    def __init__(self, centre: NDArray[np.float64], factor: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        self._centre = centre
        self._factor = factor
        self._shape = shape
        self._subtract = None if np.all(centre == 0) else _constant(centre, shape)
        self._multiply = None if np.all(factor == 1) else _constant(factor, shape)

    def __call__(self, windows: Array) -> Array:
        """Apply it to float32 [n, *shape]; gives a new array, or `windows` where it changes nothing."""
        if self._subtract is None:
            return windows if self._multiply is None else np.multiply(windows, self._multiply)
        out: Array = np.subtract(windows, self._subtract)
        return out if self._multiply is None else np.multiply(out, self._multiply, out=out)

    def then(self, other: Affine) -> Affine | None:
        """Give both as one; None where float32 cannot hold the constants of that one."""
        centre = self._centre + other._centre / self._factor
        factor = self._factor * other._factor
        return Affine(centre, factor, self._shape) if fits_float32(centre, factor) else None


def fits_float32(centre: NDArray[np.float64], factor: NDArray[np.float64]) -> bool:
    """Say whether both keep their value in float32: no overflow, and no factor that vanishes."""
    sizes = np.abs(factor)
    return bool(np.all(np.abs(centre) <= _LARGEST) and np.all(sizes <= _LARGEST) and np.all(sizes >= _SMALLEST))


def _constant(values: NDArray[np.float64], shape: tuple[int, ...]) -> Array | np.float32:
    """Give values as float32; columns are laid out as the whole window, for numpy is slow over a short last axis."""
    if values.ndim == 0:
        return np.float32(values)
    return np.ascontiguousarray(np.broadcast_to(values, shape), dtype=np.float32)


def scale(op: ops.Scale, form: Form) -> tuple[Step, Form]:
    """Compile `scale`: x * factor."""
    return _affine(np.zeros(()), _columns("factor", op.factor, form), form)


def offset(op: ops.Offset, form: Form) -> tuple[Step, Form]:
    """Compile `offset`: x + by."""
    return _affine(-_columns("by", op.by, form), np.ones(()), form)


def zscore(op: ops.Zscore, form: Form) -> tuple[Step, Form]:
    """Compile `zscore`: (x - mean) / std."""
    return _affine(_columns("mean", op.mean, form), 1.0 / _columns("std", op.std, form), form)


def minmax(op: ops.Minmax, form: Form) -> tuple[Step, Form]:
    """Compile `minmax`: (x - min) / (max - min)."""
    low, high = _columns("min", op.min, form), _columns("max", op.max, form)
    return _affine(low, 1.0 / (high - low), form)


def clip(op: ops.Clip, form: Form) -> tuple[Step, Form]:
    """Compile `clip`: min(max(x, low), high)."""
    low, high = np.float32(op.min), np.float32(op.max)

    def step(windows: Array) -> Array:
        out: Array = np.maximum(windows, low)
        return np.minimum(out, high, out=out)

    return step, form


def _affine(centre: NDArray[np.float64], factor: NDArray[np.float64], form: Form) -> tuple[Step, Form]:
    if not fits_float32(centre, factor):
        raise Refusal("leaves the range of float32", "scale the readings in the decoder", form)
    return Affine(centre, factor, form.shape), form


def _columns(name: str, values: float | list[float], form: Form) -> NDArray[np.float64]:
    """Give values as float64, refusing a list that is not as long as the last axis."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim and len(array) != form.shape[-1]:
        raise Refusal(
            f"`{name}` has {len(array)} numbers, and {form.shape[-1]} columns come in", "give one number, or one per column", form
        )
    return array
