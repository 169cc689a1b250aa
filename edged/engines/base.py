"""The small interface that every model runtime stands behind.

An engine is opened for one variant file and used by one thread at a time: interpreters are
not thread-safe. It takes and gives float32; quantizing to the tensor's own scale and zero
point, and back, is its work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # so that commands which only name the runtimes start without numpy
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tensor:
    """What a model says of one input or output, without the batch dimension.

    `scale` 0 means not quantized; `batchable` that the graph takes any leading dimension.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    batchable: bool

    @property
    def size(self) -> int:
        """Count the elements of one input."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Build:
    """Which engine computed something; part of what a measurement or golden belongs to.

    `resolver` is `xnnpack` or `builtin`, see the engine's own module.
    """

    engine: str
    package: str
    version: str
    resolver: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.resolver})"


class Engine(Protocol):
    """A loaded variant."""

    build: Build
    input: Tensor
    output: Tensor
    stateful: bool  # the graph keeps variables between calls: one engine a stream, never batched
    batch: int  # windows in one call that were measured to pay; 1 where batching does not

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run `inputs` float32 [n, *input.shape], n >= 1; give float32 [n, *output.shape].

        Values beyond a quantized tensor's range saturate; a window with NaN gives NaN from a
        quantized tensor too; NaN and infinity that the graph itself makes are passed on. The
        array returned is the caller's own. Raises BoardError(`infer-failed`) when the runtime
        refuses, BugError(`engine-misused`) for another shape or dtype, or after `close`.
        """

    def infer_raw(self, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
        """Run tensors of the input's own dtype, [n, *input.shape], one by one, unbatched; for goldens. Errors as `infer`."""

    def reset(self) -> None:
        """Forget the state of a stateful graph."""

    def close(self) -> None:
        """Give the memory back. Further calls are a bug."""
