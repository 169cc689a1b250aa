"""Turn float32 into a tensor's own integers and back.

    q = round(x * (1 / scale)) + zero_point      in float32, halves to even, then saturated
    x = (q - zero_point) * scale                 rounded to float32 once

Measured on x86_64: LiteRT 2.3.0's own QUANTIZE gives these bits under both resolvers. That of
tflite-runtime 2.14 rounds halves away from zero: it parts from this only where x lies within a
float32 rounding of a half, and then by one step. Back, tflite-runtime's DEQUANTIZE gives these
bits, and LiteRT's is off by some 1e-5 of a step.

A NaN has no integer. It is given as the zero point, and the windows that hold one are named, so
that the engine can answer NaN for them as a float graph does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Tensor

INTEGERS = ("int8", "uint8", "int16")
_LEAST_SCALE, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def conversion(tensor: Tensor) -> Affine | None:
    """Give the conversion that `tensor` needs; None for float32. Raises ValueError as `Affine` does."""
    return None if tensor.dtype == "float32" else Affine(tensor)


class Affine:
    """The conversion of a tensor that is one of `INTEGERS`; its scale 0 means plain integers."""

    def __init__(self, tensor: Tensor) -> None:
        """Raises ValueError for a scale or zero point that no converter writes."""
        self._dtype = np.dtype(tensor.dtype)
        bounds = np.iinfo(self._dtype)
        scale = tensor.scale or 1.0
        low, high = ((int(limit) - tensor.zero_point) * scale for limit in (bounds.min, bounds.max))
        sound = math.isfinite(scale) and scale >= _LEAST_SCALE and max(-low, high) <= _MOST
        if not sound or not bounds.min <= tensor.zero_point <= bounds.max:
            raise ValueError(f"scale {tensor.scale} with zero point {tensor.zero_point}")
        self._low, self._high = np.float32(low), np.float32(high)
        self._scale, self._inverse = np.float32(scale), np.float32(1) / np.float32(scale)
        self._zero_point = np.float32(tensor.zero_point)

    def quantize(self, values: NDArray[np.float32]) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Turn float32 [n, …] into the tensor's dtype [n, …]; also bool [n]: which windows hold NaN (None: none does)."""
        holes = None
        # Two reductions are cheaper than clipping, and show a NaN too.
        least, most = np.minimum.reduce(values, axis=None), np.maximum.reduce(values, axis=None)
        if least != least:
            values, holes = _without_nan(values)
        if not (least >= self._low and most <= self._high):
            values = np.minimum(np.maximum(values, self._low), self._high)
        steps = np.multiply(values, self._inverse)
        np.rint(steps, out=steps)
        np.add(steps, self._zero_point, out=steps)
        return steps.astype(self._dtype), holes

    def dequantize(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Turn the tensor's dtype [n, …] into float32 [n, …]."""
        out = values.astype(np.float32)
        out -= self._zero_point
        out *= self._scale
        return out


def _without_nan(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    nan = np.isnan(values)
    return np.where(nan, np.float32(0), values), nan.reshape(len(nan), -1).any(axis=1)
