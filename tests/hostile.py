"""Releases made to hurt: graphs that crash, hang, eat memory or answer nonsense, each a whole release that `edged pack` could meet.

`tests/graphs.build` writes one subgraph without options; a loop needs more, so the writer here
takes several subgraphs and the options of their operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import flatbuffers
import numpy as np
import tflite
from tflite import BuiltinOperator as Builtin

from tests.graphs import FLOAT32, INT32, Op, T, _buffer, _code, _ints, _offsets, _tensor

BOOL = tflite.TensorType.BOOL
VALUES = 4  # numbers in and out of every graph here

MANIFEST = """name = "hostile"
version = "1"
release = {release}
task = "regress"
[input]
kind = "tensor"
channels = ["a", "b", "c", "d"]
samples = 1
preprocess = [ {{ op = "flatten" }} ]
"""
VARIANT = """[[variants]]
name = "{name}"
engine = "tflite"
file = "{name}.tflite"
"""


@dataclass
class Step:
    """An operator with its options: their type in the schema, and what writes them."""

    op: Op
    kind: int = 0
    write: Callable[[flatbuffers.Builder], int] | None = None


@dataclass
class Sub:
    """One subgraph."""

    tensors: Sequence[T]
    steps: Sequence[Step]
    inputs: Sequence[int]
    outputs: Sequence[int]


def build(*subs: Sub) -> bytes:
    """Write a file with these subgraphs; the first is the one that runs."""
    b = flatbuffers.Builder(1024)
    steps = [step for sub in subs for step in sub.steps]
    codes = _offsets(b, [_code(b, step.op) for step in steps])
    data = [tensor.data for sub in subs for tensor in sub.tensors]
    written = []
    for i, sub in enumerate(subs):
        buffer = 1 + sum(len(before.tensors) for before in subs[:i])
        code = sum(len(before.steps) for before in subs[:i])
        written.append(_sub(b, sub, buffer, code))
    subgraphs = _offsets(b, written)
    buffers = _offsets(b, [_buffer(b, each) for each in (b"", *data)])
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSubgraphs(b, subgraphs)
    tflite.ModelAddBuffers(b, buffers)
    b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
    return bytes(b.Output())


def _sub(b: flatbuffers.Builder, sub: Sub, buffer: int, code: int) -> int:
    tensors = _offsets(b, [_tensor(b, tensor, buffer + i) for i, tensor in enumerate(sub.tensors)])
    operators = _offsets(b, [_operator(b, step, code + i) for i, step in enumerate(sub.steps)])
    inputs, outputs = _ints(b, sub.inputs), _ints(b, sub.outputs)
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, tensors)
    tflite.SubGraphAddInputs(b, inputs)
    tflite.SubGraphAddOutputs(b, outputs)
    tflite.SubGraphAddOperators(b, operators)
    return int(tflite.SubGraphEnd(b))


def _operator(b: flatbuffers.Builder, step: Step, code: int) -> int:
    inputs, outputs = _ints(b, step.op.inputs), _ints(b, step.op.outputs)
    options = step.write(b) if step.write else 0
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, inputs)
    tflite.OperatorAddOutputs(b, outputs)
    if step.write:
        tflite.OperatorAddBuiltinOptionsType(b, step.kind)
        tflite.OperatorAddBuiltinOptions(b, options)
    return int(tflite.OperatorEnd(b))


def op(code: int, inputs: Sequence[int], outputs: Sequence[int]) -> Step:
    """Give an operator without options."""
    return Step(Op(code, inputs, outputs))


def cast(source: int, to: int, types: tuple[int, int] = (FLOAT32, INT32)) -> Step:
    """Give a CAST from one type to another."""

    def write(b: flatbuffers.Builder) -> int:
        tflite.CastOptionsStart(b)
        tflite.CastOptionsAddInDataType(b, types[0])
        tflite.CastOptionsAddOutDataType(b, types[1])
        return int(tflite.CastOptionsEnd(b))

    return Step(Op(Builtin.CAST, [source], [to]), tflite.BuiltinOptions.CastOptions, write)


def loop(values: Sequence[int], cond: int, body: int) -> Step:
    """Give a WHILE over tensors of subgraph 0, with the numbers of the subgraphs that decide and that work."""

    def write(b: flatbuffers.Builder) -> int:
        tflite.WhileOptionsStart(b)
        tflite.WhileOptionsAddCondSubgraphIndex(b, cond)
        tflite.WhileOptionsAddBodySubgraphIndex(b, body)
        return int(tflite.WhileOptionsEnd(b))

    return Step(Op(Builtin.WHILE, values[:1], values[1:]), tflite.BuiltinOptions.WhileOptions, write)


def ints(*values: int) -> T:
    """Give a constant int32 vector."""
    return T((len(values),), INT32, np.array(values, np.int32).tobytes())


def floats(*values: float) -> T:
    """Give a constant float32 tensor [1, n]."""
    return T((1, len(values)), FLOAT32, np.array(values, np.float32).tobytes())


def _row(type: int = FLOAT32) -> T:
    return T((1, VALUES), type)


def _scalar(value: float) -> T:
    return T((), FLOAT32, np.float32(value).tobytes())


def sound(factor: float = 2.0) -> bytes:
    """Give a graph that is as it should be: its input times `factor`."""
    return build(Sub([_row(), floats(*[factor] * VALUES), _row()], [op(Builtin.MUL, [0, 1], [2])], [0], [2]))


def endless() -> bytes:
    """Give a graph with a WHILE whose condition always holds."""
    body = Sub([_row(), floats(*[0.0] * VALUES), _row()], [op(Builtin.ADD, [0, 1], [2])], [0], [2])
    return build(Sub([_row(), _row()], [loop([0, 1], 1, 2)], [0], [1]), _always(), body)


def _always() -> Sub:
    """Give a condition that every number fulfils: it equals itself."""
    tensors = [_row(), T((1, VALUES), BOOL), ints(0, 1), T((), BOOL)]
    return Sub(tensors, [op(Builtin.EQUAL, [0, 0], [1]), op(Builtin.REDUCE_ANY, [1, 2], [3])], [0], [3])


def slow(size: int = 512, times: int = 60) -> bytes:
    """Give a graph that multiplies by a large matrix many times: sound, and slow."""
    wide, square, narrow = (
        T(shape, data=np.full(shape, 1 / size, np.float32).tobytes()) for shape in ((size, VALUES), (size, size), (VALUES, size))
    )
    tensors = [_row(), wide, square, narrow, _row(), *[T((1, size)) for _ in range(times + 1)]]
    steps = [op(Builtin.FULLY_CONNECTED, [0, 1, -1], [5])]
    steps += [op(Builtin.FULLY_CONNECTED, [5 + i, 2, -1], [6 + i]) for i in range(times)]
    steps.append(op(Builtin.FULLY_CONNECTED, [5 + times, 3, -1], [4]))
    return build(Sub(tensors, steps, [0], [4]))


def hungry(mib: int = 1024) -> bytes:
    """Give a graph that, while it runs, fills a tensor whose size it computes: known to no check beforehand."""
    return build(_fills(mib, 1))


def creeping(mib: int = 24, times: int = 60) -> bytes:
    """Give a graph that fills one tensor after the other: none large, all of them kept to the end."""
    return build(_fills(mib, times))


def _fills(mib: int, times: int) -> Sub:
    # 0 times the input, as an integer: zero, but the runtime cannot know; plus a size, as the shape to fill
    tensors = [_row(), floats(*[0.0] * VALUES), _row(), T((1, VALUES), INT32), ints(0, 0), ints(1, 1), T((1, 1), INT32), ints(1)]
    tensors += [T((1,), INT32), ints(mib << 18), T((1,), INT32), _scalar(1.0), ints(0), _row()]
    steps = [op(Builtin.MUL, [0, 1], [2]), cast(2, 3), op(Builtin.SLICE, [3, 4, 5], [6])]
    steps += [op(Builtin.RESHAPE, [6, 7], [8]), op(Builtin.ADD, [8, 9], [10])]
    first = len(tensors)
    tensors += [T((1,)) for _ in range(times)] + [T(()) for _ in range(times)] + [_row() for _ in range(times)]
    steps += [op(Builtin.FILL, [10, 11], [first + i]) for i in range(times)]
    steps += [op(Builtin.REDUCE_MAX, [first + i, 12], [first + times + i]) for i in range(times)]
    rows = [first + 2 * times + i for i in range(times)]
    steps += [op(Builtin.ADD, [([0, *rows])[i], first + times + i], [rows[i]]) for i in range(times)]
    return Sub(tensors, steps, [0], [rows[-1]])


def not_a_number() -> bytes:
    """Give a graph that divides zero by zero."""
    steps = [op(Builtin.MUL, [0, 1], [2]), op(Builtin.DIV, [2, 2], [3])]
    return build(Sub([_row(), floats(*[0.0] * VALUES), _row(), _row()], steps, [0], [3]))


def out_of_bounds(index: int = 1 << 28) -> bytes:
    """Give a graph that writes far beyond a tensor. tflite-runtime 2.14 does not check it and crashes; LiteRT refuses."""
    tensors = [_row(), ints(index), ints(VALUES), _scalar(1.0), _scalar(0.0), T((VALUES,)), _row()]
    steps = [op(Builtin.SPARSE_TO_DENSE, [1, 2, 3, 4], [5]), op(Builtin.ADD, [0, 5], [6])]
    return build(Sub(tensors, steps, [0], [6]))


def bottomless() -> bytes:
    """Give a graph with a loop whose body is that loop again: preparing it ends with the stack, in both runtimes."""
    body = Sub([_row(), _row()], [loop([0, 1], 1, 2)], [0], [1])
    return build(Sub([_row(), _row()], [loop([0, 1], 1, 2)], [0], [1]), _always(), body)


def unloadable() -> bytes:
    """Give a graph, sound by its structure, with a constant that is shorter than its shape: both runtimes refuse it."""
    weights = T((1 << 20, VALUES), FLOAT32, bytes(16))
    steps = [op(Builtin.FULLY_CONNECTED, [0, 1, -1], [2]), op(Builtin.MUL, [0, 0], [3])]
    return build(Sub([_row(), weights, T((1, 1 << 20)), _row()], steps, [0], [3]))


def release(folder: Path, number: int = 1, **graphs: bytes) -> Path:
    """Write a release of these variants, by name, in this order; each takes four numbers and gives four."""
    folder.mkdir(parents=True)
    text = MANIFEST.format(release=number)
    for name, graph in graphs.items():
        (folder / f"{name}.tflite").write_bytes(graph)
        text += VARIANT.format(name=name)
    (folder / "model.toml").write_text(text)
    return folder


def with_goldens(folder: Path, inputs: np.ndarray, outputs: np.ndarray, atol: float = 1e-3) -> Path:
    """Add goldens to the last variant of a release."""
    np.savez(folder / "golden.npz", inputs=inputs, outputs=outputs)
    path = folder / "model.toml"
    path.write_text(f'{path.read_text()}golden = {{ file = "golden.npz", atol = {atol} }}\n')
    return folder
