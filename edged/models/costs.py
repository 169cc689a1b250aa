"""What a variant costs to run, counted from its graph: bytes, multiply-adds, activation memory.

A MAC is one multiplication with its addition. Counted from shapes, for one input:

    dense       FULLY_CONNECTED, BATCH_MATMUL         outputs × length of the sum
    conv        CONV_2D, CONV_3D, TRANSPOSE_CONV      outputs × kernel × input channels
    depthwise   DEPTHWISE_CONV_2D                     outputs × kernel
    other       recurrent layers                      steps × elements of the weight matrices

Everything else counts its elements as `elementwise`. Operators of called subgraphs (IF, WHILE)
count once, so a loop is underestimated. All of it is a prediction's input, not its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.models.graph import Graph, OpInfo, SubGraph, TensorInfo, read_graph
from edged.models.shapes import Shapes, shapes_of
from edged.models.text_costs import TextCosts

_CLASS = {
    "FULLY_CONNECTED": "dense",
    "BATCH_MATMUL": "dense",
    "CONV_2D": "conv",
    "CONV_3D": "conv",
    "TRANSPOSE_CONV": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "LSTM": "other",
    "RNN": "other",
    "SVDF": "other",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "other",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "other",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "other",
    "BIDIRECTIONAL_SEQUENCE_RNN": "other",
}
_VIEWS = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})  # no element is touched


# A release.json may claim anything. What is beyond this no board has, and arithmetic with it could fail.
Count = Annotated[int, Meta(ge=0, le=1 << 60)]


class Macs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Multiply-adds of one input, by class of operator."""

    dense: Count = 0
    conv: Count = 0
    depthwise: Count = 0
    other: Count = 0


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `release.json` says of one variant.

    `compute` is the type of most multiply-adds: float32, int8, or hybrid (float32 with int8
    weights), or another integer type. `arena_bytes` is an estimate of what the interpreter
    needs beside the weights, without its scratch memory.
    """

    file_bytes: Count
    weight_bytes: Count
    arena_bytes: Count
    macs_total: Count
    macs: Macs
    elementwise: Count
    compute: str
    stateful: bool
    operators: dict[str, Count]
    shapes: Shapes | None = None  # not in what was packed by edged 0.1
    text: TextCosts | None = None  # of models for text alone


def class_of(operator: str) -> str:
    """Give the class of an operator by its name: dense, conv, depthwise, other, or plain where it multiplies no weights."""
    return _CLASS.get(operator, "plain")


def costs_of_file(path: Path) -> Costs:
    """Count the costs of a .tflite file; errors as `read_graph`."""
    return costs_of(read_graph(path))


def costs_of(graph: Graph) -> Costs:
    """Count the costs of a graph."""
    macs = {"dense": 0, "conv": 0, "depthwise": 0, "other": 0}
    by_type: dict[str, int] = {}
    by_class: dict[str, dict[str, int]] = {}
    elementwise = 0
    operators: dict[str, int] = {}
    for sub, op in _ops(graph):
        name = op.custom or op.name
        operators[name] = operators.get(name, 0) + 1
        if op.name in _CLASS:
            count = _macs(op, sub)
            macs[_CLASS[op.name]] += count
            kind = _compute(op, sub)
            by_type[kind] = by_type.get(kind, 0) + count
            of_class = by_class.setdefault(_CLASS[op.name], {})
            of_class[kind] = of_class.get(kind, 0) + count
        elif op.name not in _VIEWS:
            elementwise += _elements(op, sub)
    from edged.models.arena import arena_bytes  # numpy: what only reads costs starts without it

    compute = _most(by_type) if by_type else (graph.inputs[0].dtype if graph.inputs else "")
    kinds = {name: _most(of_class) for name, of_class in by_class.items() if _most(of_class) != compute}
    return Costs(
        file_bytes=graph.file_bytes,
        weight_bytes=_weight_bytes(graph),
        arena_bytes=arena_bytes(graph.subgraphs[0]),
        macs_total=sum(macs.values()),
        macs=Macs(**macs),
        elementwise=elementwise,
        compute=compute,
        stateful=graph.stateful,
        operators=dict(sorted(operators.items())),
        shapes=shapes_of(graph, kinds),
    )


def _most(counts: dict[str, int]) -> str:
    return max(counts, key=lambda name: counts[name])


def _ops(graph: Graph) -> Iterator[tuple[SubGraph, OpInfo]]:
    for sub in graph.subgraphs:
        for op in sub.ops:
            yield sub, op


def _input(op: OpInfo, sub: SubGraph, number: int) -> TensorInfo | None:
    """Give the tensor of an input, None where it is left out."""
    index = op.inputs[number] if number < len(op.inputs) else -1
    return sub.tensors[index] if index >= 0 else None


def _outputs(op: OpInfo, sub: SubGraph) -> int:
    return sum(sub.tensors[i].elements for i in op.outputs if i >= 0)


def _macs(op: OpInfo, sub: SubGraph) -> int:
    if _CLASS[op.name] == "other":
        return _recurrent(op, sub)
    weights = _input(op, sub, 1)
    shape = weights.shape if weights else ()
    if op.name == "BATCH_MATMUL":
        return _matmul(op, sub)
    if op.name == "FULLY_CONNECTED":  # weights [outputs, inputs]
        return _outputs(op, sub) * (shape[-1] if shape else 0)
    if op.name == "CONV_2D":  # [outputs, height, width, inputs]; inputs of one group
        return _outputs(op, sub) * prod(shape[1:])
    if op.name == "CONV_3D":  # [depth, height, width, inputs, outputs]
        return _outputs(op, sub) * prod(shape[:-1])
    if op.name == "DEPTHWISE_CONV_2D":  # [1, height, width, outputs]
        return _outputs(op, sub) * prod(shape[1:3])
    source = _input(op, sub, 2)  # TRANSPOSE_CONV: [outputs, height, width, inputs], each input value meets each kernel
    return source.elements * prod(shape[:3]) if source else 0


def _matmul(op: OpInfo, sub: SubGraph) -> int:
    """[…, m, k] × […, k, n], either side transposed or not: k is what m leaves of the left side's matrix."""
    left = _input(op, sub, 0)
    out = sub.tensors[op.outputs[0]].shape if op.outputs and op.outputs[0] >= 0 else ()
    if left is None or len(out) < 2 or len(left.shape) < 2 or out[-2] == 0:
        return 0
    return prod(out) * (prod(left.shape[-2:]) // out[-2])


def _recurrent(op: OpInfo, sub: SubGraph) -> int:
    """Each element of each weight matrix is used once a step; a sequence op takes [time, batch, …] or [batch, time, …]."""
    source = _input(op, sub, 0)
    steps = prod(source.shape[:2] if "SEQUENCE" in op.name else source.shape[:1]) if source else 0
    weights = {i for i in op.inputs[1:] if i >= 0 and sub.tensors[i].constant and len(sub.tensors[i].shape) == 2}
    return steps * sum(sub.tensors[i].elements for i in weights)


def _compute(op: OpInfo, sub: SubGraph) -> str:
    activations = _input(op, sub, 2 if op.name == "TRANSPOSE_CONV" else 0)
    weights = _input(op, sub, 1)
    kind = activations.dtype if activations else ""
    return "hybrid" if kind == "float32" and weights and weights.dtype in ("int8", "uint8", "int4") else kind


def _elements(op: OpInfo, sub: SubGraph) -> int:
    """Count what an operator reads or writes, whichever is more: a mean reads more than it writes."""
    source = _input(op, sub, 0)
    return max(_outputs(op, sub), source.elements if source and not source.constant else 0)


def _weight_bytes(graph: Graph) -> int:
    """Sum the constant data, each buffer once however many tensors share it."""
    return sum({t.buffer: t.constant for sub in graph.subgraphs for t in sub.tensors}.values())
