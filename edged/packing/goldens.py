"""Run a variant's golden inputs and hold the outputs to what the release says.

Goldens are raw tensors: int8 in, int8 out for an int8 graph, so that neither preprocessing nor
quantization hides a difference. A stateful graph is reset once, then takes them in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Build, Engine, Tensor
from edged.errors import EdgedError, PublisherError
from edged.models.manifest import Examined, Golden, Variant
from edged.npz import read_arrays
from edged.packing.fit import fits

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Compared:
    """How far computed outputs are from the golden ones.

    `error` is the largest absolute difference, in units of the output tensor, found in golden
    `row` (from 0) at `index` of that output. `agree` is the part with the same largest output; with `in_words` that of equal
    answers, and `row` is the first that differs.
    """

    rows: int
    error: float
    row: int
    index: tuple[int, ...]
    agree: float
    in_words: bool = False

    def __str__(self) -> str:
        if self.in_words:
            return f"{self.rows} goldens, same answer {self.agree:.1%}"
        return f"{self.rows} goldens, largest difference {self.error:.3g}, same top-1 {self.agree:.1%}"


@dataclass(frozen=True)
class Ran:
    """One variant's goldens on one runtime."""

    variant: str
    build: Build
    compared: Compared


def ran_or_fault(examined: Examined, i: int, variant: Variant, build: Build, run: Callable[[Path], Compared]) -> list[Ran]:
    """Have a variant's goldens run; nothing where it has none or, with a fault, where they are not as promised."""
    if variant.golden is None or variant.golden.file not in examined.files:
        return []
    place = ("variants", i, "golden")
    try:
        compared = run(examined.files[variant.golden.file])
    except EdgedError as error:
        examined.document.fault((*place, "file"), error.code, error.text, error.hint)
        return []
    if wrong := why_not(compared, variant.golden):
        hint = "compute the goldens from this file, or widen the tolerance"
        examined.document.fault(place, "golden-differs", f"{variant.name} on {build} {wrong}", hint)
        return []
    return [Ran(variant.name, build, compared)]


def read_golden(path: Path, given: Tensor, made: Tensor) -> tuple[Array, Array]:
    """Read inputs [n, *given.shape] and outputs [n, *made.shape], each of its tensor's dtype, n >= 1.

    Raises PublisherError `npz-malformed`, or `golden-mismatch` where shape or dtype is another.
    """
    arrays = read_arrays(path, ("inputs", "outputs"))
    inputs, outputs = arrays["inputs"], arrays["outputs"]
    if len(inputs.shape) == 0 or len(outputs.shape) == 0 or len(inputs) != len(outputs) or len(inputs) == 0:
        raise mismatch(path, f"inputs {list(inputs.shape)} and outputs {list(outputs.shape)} are not one output for each input")
    for name, array, tensor in (("inputs", inputs, given), ("outputs", outputs, made)):
        if array.dtype.name != tensor.dtype:
            raise mismatch(path, f"`{name}` are {array.dtype.name}, the tensor is {tensor.dtype}")
        if not fits(array.shape[1:], tensor.shape):
            raise mismatch(path, f"`{name}` are {list(array.shape)}, the tensor wants [n, {', '.join(map(str, tensor.shape))}]")
        if not np.isfinite(array).all():
            raise mismatch(path, f"`{name}` are not all finite")
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
        if compared.in_words:
            return f"gives {compared.agree:.1%} of the same answers, less than agree = {golden.agree:g}, first in golden {compared.row}"
        return f"agrees in {compared.agree:.1%} of the top-1, less than agree = {golden.agree:g}"
    return ""


def mismatch(path: Path, text: str) -> PublisherError:
    """Make the error for goldens that are of another shape or type."""
    return PublisherError("golden-mismatch", f"`{path.name}`: {text}", "goldens are raw results of this very variant")
