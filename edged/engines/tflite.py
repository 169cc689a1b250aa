"""The `tflite` engine: float32 in and out over a graph, in batches where that was measured to pay.

Resolvers: `xnnpack` is each runtime's default, which hands what it can to XNNPACK (LiteRT: float
and int8; tflite-runtime 2.14: float). `builtin` has no delegates, and its int8 results are the
same bits in both runtimes: for goldens.

Batches: several windows in one call are used only where a probe of pseudo-random windows came out
bit for bit as they do one at a time. So a result does not depend on which windows arrived
together. Measured on x86_64: all nets under XNNPACK are bit-equal, and int8 nets under `builtin`
too; float dense nets under `builtin` differ by 5e-7 of full scale, and stay single.
A batch costs a second interpreter: an arena for `batch` windows and XNNPACK's copy of the weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Build, Tensor
from edged.engines.batching import SIZES, break_even, least_ns, size_to_try
from edged.engines.quantize import conversion
from edged.engines.tflite_graph import Graph, check_file
from edged.errors import BugError, EdgedError, PublisherError

_FLOAT32 = np.dtype(np.float32)


class TfliteEngine:
    """A loaded graph, see `Engine`."""

    def __init__(
        self,
        path: Path,
        module: Any,
        build: Build,
        *,
        threads: int = 1,
        stateful: bool = False,
        batching: bool = True,
        cpu_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """Load `path` with the interpreter module `module`, run it once, and measure batches where `batching` allows them.

        `stateful` is what the release says; a graph with operations that keep state is stateful
        whatever it says. Raises BoardError `model-file-missing`, PublisherError
        `model-not-loadable` or `tensors-unsupported`.
        """
        check_file(path)
        self.build = build
        self._open: Callable[[int], Graph] = lambda windows: Graph(path, module, build, threads, windows)
        self._single = self._open(1)
        self.input, self.output = self._single.input, self._single.output
        self._quantizer, self._dequantizer = conversion(self.input), conversion(self.output)
        self._shape: tuple[int, ...] | None = self.input.shape  # None: closed
        self._one: tuple[int, ...] | None = (1, *self.input.shape)
        self._raw_dtype = np.dtype(self.input.dtype)
        self.stateful = stateful or self._single.variables or self._single.resources
        self.batch = 1
        self._batched: Graph | None = None
        self._break_even = 0
        self._warm_up(path)
        if batching and not self.stateful and self.input.batchable and self.output.batchable:
            self._try_batch(cpu_ns)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run float32 [n, *input.shape]; give float32 [n, *output.shape]. See `Engine.infer`."""
        if inputs.dtype != _FLOAT32 or (inputs.shape != self._one and not self._fits(inputs)):
            raise self._misuse(inputs, _FLOAT32)
        raw: Any = inputs
        holes = None
        if self._quantizer is not None:
            raw, holes = self._quantizer.quantize(inputs)
        out: Any = self._single.run(raw) if len(raw) == 1 else self._run(raw)
        if self._dequantizer is not None:
            out = self._dequantizer.dequantize(out)
        if holes is not None:
            out[holes] = np.nan
        return out

    def infer_raw(self, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
        """Run tensors of the input's own dtype, [n, *input.shape], one by one. See `Engine.infer_raw`."""
        if inputs.dtype != self._raw_dtype or not self._fits(inputs):
            raise self._misuse(inputs, self._raw_dtype)
        return self._singly(inputs)

    def reset(self) -> None:
        """Forget the state of a stateful graph; takes as long as loading where the state is in resource variables."""
        if self._single.resources:
            self._single = self._open(1)
        else:
            self._single.reset()

    def close(self) -> None:
        """Give the memory back. `infer` then raises BugError(`engine-misused`)."""
        self._shape = self._one = self._batched = None
        del self._single

    def _fits(self, inputs: NDArray[Any]) -> bool:
        return inputs.ndim > 0 and len(inputs) > 0 and inputs.shape[1:] == self._shape

    def _run(self, raw: NDArray[np.generic]) -> NDArray[np.generic]:
        if self._batched is None:
            return self._singly(raw)
        out = np.empty((len(raw), *self.output.shape), self.output.dtype)
        for start in range(0, len(raw), self.batch):
            part = raw[start : start + self.batch]
            few = len(part) < self._break_even
            out[start : start + self.batch] = self._singly(part) if few else self._batched.run(_padded(part, self.batch))[: len(part)]
        return out

    def _singly(self, raw: NDArray[np.generic]) -> NDArray[np.generic]:
        out = np.empty((len(raw), *self.output.shape), self.output.dtype)
        for i in range(len(raw)):
            out[i] = self._single.run(raw[i : i + 1])[0]
        return out

    def _warm_up(self, path: Path) -> None:
        """Run once, so that the first result is not slow and a graph that cannot run is refused now."""
        try:
            self._single.run(_probe(self.input, 1))
        except EdgedError as error:
            raise PublisherError("model-not-loadable", f"{path.name}: {error.text}", "run it once where the model is made") from error
        if self.stateful:
            self.reset()

    def _try_batch(self, cpu_ns: Callable[[], int]) -> None:
        """Keep a graph for several windows a call if it gives the same bits and pays."""
        probe = _probe(self.input, SIZES[0])
        single_ns = least_ns(lambda: self._single.run(probe[:1]), cpu_ns)
        size = size_to_try(single_ns)
        if size == 1:
            return
        probe = probe[:size]
        try:
            graph = self._open(size)
            if graph.run(probe).tobytes() != self._singly(probe).tobytes():
                return
        except EdgedError:  # a graph with its batch of one built in, such as a fixed RESHAPE: sound, but single
            return
        self._break_even = break_even(single_ns, least_ns(lambda: graph.run(probe), cpu_ns), size)
        if self._break_even:
            self._batched, self.batch = graph, size

    def _misuse(self, inputs: NDArray[Any], dtype: np.dtype[Any]) -> BugError:
        if self._shape is None:
            return BugError("engine-misused", "the engine is closed")
        wanted = f"{dtype.name} [n, {', '.join(map(str, self._shape))}]"
        return BugError("engine-misused", f"the engine takes {wanted} with n >= 1, not {inputs.dtype.name} {list(inputs.shape)}")


def _padded(part: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    if len(part) == size:
        return part
    whole = np.zeros((size, *part.shape[1:]), part.dtype)
    whole[: len(part)] = part
    return whole


def _probe(tensor: Tensor, windows: int) -> NDArray[np.generic]:
    """Make pseudo-random windows [windows, *shape]: all integers of the dtype, or float32 from -2 to 2. The same at each call."""
    noise = (np.arange(windows * tensor.size, dtype=np.uint32) * np.uint32(2654435761)) >> np.uint32(16)  # Knuth's multiplicative hash
    if tensor.dtype == _FLOAT32.name:
        values: NDArray[Any] = (noise / np.float32(16384) - np.float32(2)).astype(np.float32)
    else:
        dtype = np.dtype(tensor.dtype)
        values = noise.astype(f"u{dtype.itemsize}").view(dtype)
    return values.reshape(windows, *tensor.shape)
