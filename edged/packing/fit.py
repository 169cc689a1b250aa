"""Say whether a shape fits a tensor, and what to write where it does not.

The rule: sizes must be equal in order, where the tensor's batch (its leading 1, or a size that
may vary) and every size of 1 do not count. `[260, 3]` fits `[1, 260, 3]`, `[-1, 260, 3, 1]`
and `[1, 1, 260, 3]`; it does not fit `[1, 780]`, though the count is the same: which value
comes first must be said with `flatten` or `reshape`.
"""

from __future__ import annotations

from math import prod

from edged.models.graph import TensorInfo
from edged.models.schema import Input


def without_batch(tensor: TensorInfo) -> tuple[int, ...]:
    """Give the sizes of one input or output of a tensor."""
    leading = bool(tensor.shape) and (tensor.shape[0] == 1 or tensor.signature[0] == -1)
    return tensor.shape[1:] if leading else tensor.shape


def fits(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Say whether two shapes without batch are the same but for sizes of 1."""
    return _counted(shape) == _counted(other)


def likely_fix(shape: tuple[int, ...], wanted: tuple[int, ...], input_: Input) -> str:
    """Say what to write so that preprocessing gives `wanted` and not `shape`."""
    if prod(shape) == prod(wanted):
        if len(_counted(wanted)) <= 1:
            return 'add `{ op = "flatten" }` at the end of preprocess'
        if _counted(wanted) == _counted(shape)[::-1]:
            return "the tensor has the axes the other way round; export the model with samples first"
        return f'add `{{ op = "reshape", shape = {list(wanted)} }}` at the end of preprocess'
    channels = len(input_.channels)
    if not input_.preprocess and channels and prod(wanted) % channels == 0:
        return f"with {channels} channels, `samples = {prod(wanted) // channels}` gives as many values"
    if not input_.preprocess and prod(wanted) % input_.samples == 0:
        return f"with {input_.samples} samples, {prod(wanted) // input_.samples} channels give as many values"
    return "mend samples, channels or preprocess; the model was trained on inputs of this shape"


def _counted(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
