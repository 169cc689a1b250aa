"""Run a variant's golden inputs and hold the outputs to what the release says.

Goldens are raw tensors: int8 in, int8 out for an int8 graph, so that neither preprocessing nor
quantization hides a difference. A stateful graph is reset once, then takes them in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Engine, Tensor
from edged.errors import PublisherError
from edged.models.schema import Golden
from edged.npz import read_arrays
from edged.packing.fit import fits

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Compared:
    """How far computed outputs are from the golden ones.

    `error` is the largest absolute difference, in units of the output tensor, found in golden
    `row` (from 0) at `index` of that output. `agree` is the part with the same largest output.
    """

    rows: int
    error: float
    row: int
    index: tuple[int, ...]
    agree: float

    def __str__(self) -> str:
        return f"{self.rows} goldens, largest difference {self.error:.3g}, same top-1 {self.agree:.1%}"


def read_golden(path: Path, given: Tensor, made: Tensor) -> tuple[Array, Array]:
    """Read inputs [n, *given.shape] and outputs [n, *made.shape], each of its tensor's dtype, n >= 1.

    Raises PublisherError `npz-malformed`, or `golden-mismatch` where shape or dtype is another.
    """
    arrays = read_arrays(path, ("inputs", "outputs"))
    inputs, outputs = arrays["inputs"], arrays["outputs"]
    if len(inputs.shape) == 0 or len(outputs.shape) == 0 or len(inputs) != len(outputs) or len(inputs) == 0:
        raise _mismatch(path, f"inputs {list(inputs.shape)} and outputs {list(outputs.shape)} are not one output for each input")
    for name, array, tensor in (("inputs", inputs, given), ("outputs", outputs, made)):
        if array.dtype.name != tensor.dtype:
            raise _mismatch(path, f"`{name}` are {array.dtype.name}, the tensor is {tensor.dtype}")
        if not fits(array.shape[1:], tensor.shape):
            raise _mismatch(path, f"`{name}` are {list(array.shape)}, the tensor wants [n, {', '.join(map(str, tensor.shape))}]")
        if not np.isfinite(array).all():
            raise _mismatch(path, f"`{name}` are not all finite")
    return inputs.reshape(len(inputs), *given.shape), outputs.reshape(len(outputs), *made.shape)


def run_golden(engine: Engine, path: Path) -> Compared:
    """Compute the golden inputs of the file at `path` and compare; errors as `read_golden` and as the engine's."""
    inputs, outputs = read_golden(path, engine.input, engine.output)
    if engine.stateful:
        engine.reset()
    return compare(engine.infer_raw(inputs), outputs)


def compare(computed: Array, golden: Array) -> Compared:
    """Compare outputs [n, …] of one shape; a NaN is infinitely far."""
    difference = np.abs(computed.astype(np.float64) - golden.astype(np.float64))
    difference[np.isnan(difference)] = np.inf
    row, *index = (int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
    tops = [each.reshape(len(each), -1).argmax(axis=1) for each in (computed, golden)]
    return Compared(len(golden), float(difference.max()), row, tuple(index), float(np.mean(tops[0] == tops[1])))


def why_not(compared: Compared, golden: Golden) -> str:
    """Say in what way the outputs are not what the release promises; empty where they are."""
    if golden.atol is not None and compared.error > golden.atol:
        where = f"golden {compared.row} at {list(compared.index)}"
        return f"differs by {compared.error:.6g}, more than atol = {golden.atol:g}, in {where}"
    if golden.agree is not None and compared.agree < golden.agree:
        return f"agrees in {compared.agree:.1%} of the top-1, less than agree = {golden.agree:g}"
    return ""


def _mismatch(path: Path, text: str) -> PublisherError:
    return PublisherError("golden-mismatch", f"`{path.name}`: {text}", "goldens are raw tensors of this very variant")
