"""What the shapes of a graph say of its cost beyond multiply-adds: how well the blocks of a kernel are filled, and what is converted.

A kernel works in blocks of channels, and fetches its inputs for each position of each place. A
convolution of (inputs + a) × (outputs + b) channels at so many steps costs, with a and b of the
kernel: MACs + a × by_output + b × by_input + a × b × steps. So these sums are counted.
"""

from __future__ import annotations

from math import prod
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.models.graph import Graph, OpInfo, SubGraph

Count = Annotated[int, Meta(ge=0, le=1 << 60)]


class Shapes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sums over all operators of one kind.

    by_input, by_output   MACs of convolutions, divided by the input and by the output channels of each
    steps                 places × positions of the kernel, of convolutions larger than 1×1
    places                output places of those, all channels together
    points                output places of 1×1 convolutions
    depthwise_steps       the same as `steps`, of depthwise convolutions
    patches               bytes of the largest input that a convolution larger than 1×1 gathers, each value at each position
    kinds                 compute type of most MACs of each class, where it is not that of the whole graph
    converted             values of the model's input and output that are quantized: edged converts them
    batchable             whether input and output take any number of windows
    """

    by_input: Count = 0
    by_output: Count = 0
    steps: Count = 0
    places: Count = 0
    points: Count = 0
    depthwise_steps: Count = 0
    patches: Count = 0
    kinds: dict[str, str] = {}
    converted: Count = 0
    batchable: bool = False


def shapes_of(graph: Graph, kinds: dict[str, str]) -> Shapes:
    """Count the shapes of a graph; `kinds` as in `Shapes`."""
    sums = {"by_input": 0, "by_output": 0, "steps": 0, "places": 0, "points": 0, "depthwise_steps": 0}
    patches = 0
    for sub in graph.subgraphs:
        for op in sub.ops:
            counts = _counts(op, sub)
            for name, count in counts.items():
                sums[name] += count
            if "steps" in counts:
                source = sub.tensors[op.inputs[0]]
                patches = max(patches, (counts["by_output"] * source.bits + 7) // 8)
    ends = [*graph.inputs, *graph.outputs]
    return Shapes(
        **sums,
        patches=patches,
        kinds=kinds,
        converted=sum(tensor.elements for tensor in ends if tensor.scales and not tensor.dtype.startswith("float")),
        batchable=bool(ends) and all(tensor.signature[:1] == (-1,) for tensor in ends),
    )


def _counts(op: OpInfo, sub: SubGraph) -> dict[str, int]:
    if (
        op.name not in ("CONV_2D", "DEPTHWISE_CONV_2D")
        or len(op.inputs) < 2
        or min(op.inputs[:2]) < 0
        or not op.outputs
        or op.outputs[0] < 0
    ):
        return {}
    weights, out = sub.tensors[op.inputs[1]].shape, sub.tensors[op.outputs[0]].shape
    if len(weights) != 4 or not out:
        return {}
    kernel, places = weights[1] * weights[2], prod(out[:-1])
    if op.name == "DEPTHWISE_CONV_2D":
        return {"depthwise_steps": places * kernel}
    return {
        "by_input": places * kernel * out[-1],
        "by_output": places * kernel * weights[3],
        **({"steps": places * kernel, "places": places} if kernel > 1 else {"points": places}),
    }
