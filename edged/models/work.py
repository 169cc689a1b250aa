"""The terms that time and memory of one window are sums of. A calibration finds what each costs; a prediction adds them up."""

from __future__ import annotations

from edged.models.costs import Costs, class_of
from edged.models.shapes import Shapes

_MIB = 1 << 20
_POINTER = 8  # bytes of an entry in the table of a convolution's inputs

MACS = ("dense", "conv", "depthwise", "other")
# The terms of each class of operators: those that its calibration graphs are made of.
TERMS = {
    "dense": ("dense", "dense_operators"),
    "conv": ("conv", "by_input", "by_output", "steps", "places", "points", "conv_operators"),
    "depthwise": ("depthwise", "depthwise_steps", "depthwise_operators"),
    "other": ("other",),
    "elements": ("elements", "plain_operators"),
}


MEMORY = ("model", "weights", "tables", "patches", "operators")


def kind_of(costs: Costs, class_: str) -> str:
    """Give the compute type of a class of operators."""
    if class_ == "elements":
        return "int8" if costs.compute == "int8" else "float32"
    return costs.shapes.kinds.get(class_, costs.compute) if costs.shapes else costs.compute


def time_terms(costs: Costs) -> dict[str, int]:
    """Count what takes time beside the call itself; each term has a price in nanoseconds."""
    shapes = costs.shapes or Shapes()
    operators = {"dense": 0, "conv": 0, "depthwise": 0, "other": 0, "plain": 0}
    for name, count in costs.operators.items():
        operators[class_of(name)] += count
    return {
        **{name: getattr(costs.macs, name) for name in MACS},
        "by_input": shapes.by_input,
        "by_output": shapes.by_output,
        "steps": shapes.steps,
        "places": shapes.places,
        "points": shapes.points,
        "depthwise_steps": shapes.depthwise_steps,
        "elements": costs.elementwise,
        "dense_operators": operators["dense"],
        "conv_operators": operators["conv"],
        "depthwise_operators": operators["depthwise"],
        "plain_operators": operators["plain"] + operators["other"],
    }


def memory_terms(costs: Costs) -> dict[str, float]:
    """Count what takes memory beside the runtime itself, in MiB and operators; each term has a price in MiB."""
    shapes = costs.shapes or Shapes()
    return {
        "model": 1.0,
        "weights": costs.weight_bytes / _MIB,
        "tables": (shapes.steps + shapes.depthwise_steps) * _POINTER / _MIB,
        "patches": shapes.patches / _MIB,
        "operators": float(sum(costs.operators.values())),
    }
