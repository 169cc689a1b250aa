"""Turn float32 into a tensor's own integers and back, as TFLite's own operations do.

    q = round(x / scale) + zero_point      halves away from zero, then saturated
    x = (q - zero_point) * scale           exact up to one rounding to float32

The source is `AffineQuantize` and `Dequantize` of TFLite's reference kernels
(`tensorflow/lite/kernels/internal/reference/{quantize,dequantize}.h`), which divide in float32
and round with `std::round`. XNNPACK and the NEON kernels multiply by the reciprocal instead, and
XNNPACK rounds halves to even: a value that lies on a half may come out one step away from those.

A NaN has no integer. It is given as the zero point, and the windows that hold one are named, so
that the engine can answer NaN for them as a float graph does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Tensor

INTEGERS = ("int8", "uint8", "int16")


def conversion(tensor: Tensor) -> Affine | None:
    """Give the conversion that `tensor` needs; None for float32. Raises ValueError as `Affine` does."""
    return None if tensor.dtype == "float32" else Affine(tensor)


class Affine:
    """The conversion of one tensor; one of `INTEGERS` with a finite scale >= 0 (0: plain integers)."""

    def __init__(self, tensor: Tensor) -> None:
        """Raises ValueError for a scale or zero point that no converter writes."""
        self._dtype = np.dtype(tensor.dtype)
        bounds = np.iinfo(self._dtype)
        scale = tensor.scale or 1.0
        self._low, self._high = (float(np.float32((limit - tensor.zero_point) * scale)) for limit in (bounds.min, bounds.max))
        if not (scale > 0 and math.isfinite(self._low) and math.isfinite(self._high) and bounds.min <= tensor.zero_point <= bounds.max):
            raise ValueError(f"scale {tensor.scale} with zero point {tensor.zero_point}")
        self._scale = np.float32(scale)
        self._zero_point = np.float32(tensor.zero_point)

    def quantize(self, values: NDArray[np.float32]) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Turn float32 [n, …] into the tensor's dtype [n, …]; also bool [n]: which windows hold NaN (None: none does)."""
        holes = None
        # Two reductions are cheaper than clipping, and NaN fails them too.
        if not (np.minimum.reduce(values, axis=None) >= self._low and np.maximum.reduce(values, axis=None) <= self._high):
            values, holes = self._tame(values)
        steps = np.divide(values, self._scale)
        whole = np.trunc(steps)
        # trunc(2x) - trunc(x) is x rounded, halves away from zero, without an error: 2x is exact.
        np.add(steps, steps, out=steps)
        np.trunc(steps, out=steps)
        np.subtract(steps, whole, out=steps)
        np.add(steps, self._zero_point, out=steps)
        return steps.astype(self._dtype), holes

    def dequantize(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Turn the tensor's dtype [n, …] into float32 [n, …]."""
        out = values.astype(np.float32)
        out -= self._zero_point
        out *= self._scale
        return out

    def _tame(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        nan = np.isnan(values)
        values = np.clip(values, self._low, self._high)
        if not nan.any():
            return values, None
        values[nan] = 0.0
        return values, nan.reshape(len(nan), -1).any(axis=1)
