"""Estimate the memory that an interpreter plans for the values between operators.

A tensor lives from the operator that writes it to the last that reads it; the model's inputs
and variables live always, its outputs to the end. The largest is placed first, each in the
smallest gap between those that live at the same time, at multiples of 64 bytes. This is how
TFLite plans (tensorflow/lite/arena_planner.cc and simple_memory_arena.cc); scratch memory that
operators ask for when they are prepared is not known here.
"""

from __future__ import annotations

import numpy as np

from edged.models.graph import SubGraph

_ALIGNMENT = 64


def arena_bytes(sub: SubGraph) -> int:
    """Give the bytes of the arena for one subgraph."""
    lives = sorted(_lives(sub), key=lambda life: (-(life[1] - life[0] == len(sub.ops)), -life[2]))
    size = 0
    # Of the tensors placed so far, by rising offset: first and last operator, begin and end in the arena.
    placed = np.empty((4, len(lives)), np.int64)
    for count, (first, last, length) in enumerate(lives):
        here = placed[:, :count]
        beside = here[:, (here[0] <= last) & (here[1] >= first)]
        begin = _gap(beside[2], beside[3], length)
        at = int(np.searchsorted(here[2], begin))
        placed[:, at + 1 : count + 1] = placed[:, at:count].copy()
        placed[:, at] = (first, last, begin, begin + length)
        size = max(size, begin + length)
    return size


def _gap(begins: np.ndarray, ends: np.ndarray, length: int) -> int:  # type: ignore[type-arg]
    """Give the begin of the smallest gap that takes `length`; after the last one if none does."""
    if len(begins) == 0:
        return 0
    free_from = np.maximum.accumulate(np.concatenate(([0], ends)))
    gaps = begins - free_from[:-1]
    fits = np.flatnonzero(gaps >= length)
    return int(free_from[fits[np.argmin(gaps[fits])]] if len(fits) else free_from[-1])


def _lives(sub: SubGraph) -> list[tuple[int, int, int]]:
    """Give first operator, last operator and padded bytes of each tensor that is computed."""
    end = len(sub.ops)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, op in enumerate(sub.ops):
        for index in op.outputs:
            first.setdefault(index, i)
            last[index] = max(last.get(index, i), i)
        for index in op.inputs:
            last[index] = i
    for index in sub.outputs:
        last[index] = end
    always = [i for i, tensor in enumerate(sub.tensors) if tensor.variable] + list(sub.inputs)
    for index in always:
        first[index], last[index] = 0, end
    return [
        (first[i], last[i], -(-tensor.bytes // _ALIGNMENT) * _ALIGNMENT)
        for i, tensor in enumerate(sub.tensors)
        if i in first and not tensor.constant and tensor.bytes
    ]
