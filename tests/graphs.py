"""Build small TFLite files with the official schema's own writer, for what no real model at hand has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
import tflite

FLOAT32, INT8, INT32 = tflite.TensorType.FLOAT32, tflite.TensorType.INT8, tflite.TensorType.INT32


@dataclass
class T:
    """A tensor: shape, type, and its constant data, if any."""

    shape: Sequence[int]
    type: int = FLOAT32
    data: bytes = b""
    variable: bool = False


@dataclass
class Op:
    """An operator by its builtin code or custom name, with the numbers of its tensors."""

    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    custom: str = ""


def build(tensors: Sequence[T], ops: Sequence[Op], inputs: Sequence[int], outputs: Sequence[int], identifier: bytes = b"TFL3") -> bytes:
    """Write a file with one subgraph."""
    b = flatbuffers.Builder(1024)
    codes = [_code(b, op) for op in ops]
    written = [_tensor(b, tensor, i + 1) for i, tensor in enumerate(tensors)]
    operators = [_operator(b, op, i) for i, op in enumerate(ops)]
    parts = [_offsets(b, written), _ints(b, inputs), _ints(b, outputs), _offsets(b, operators)]
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, parts[0])
    tflite.SubGraphAddInputs(b, parts[1])
    tflite.SubGraphAddOutputs(b, parts[2])
    tflite.SubGraphAddOperators(b, parts[3])
    subgraphs = _offsets(b, [tflite.SubGraphEnd(b)])
    buffers = _offsets(b, [_buffer(b, data) for data in (b"", *(tensor.data for tensor in tensors))])
    listed = _offsets(b, codes)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, listed)
    tflite.ModelAddSubgraphs(b, subgraphs)
    tflite.ModelAddBuffers(b, buffers)
    b.Finish(tflite.ModelEnd(b), file_identifier=identifier)
    return bytes(b.Output())


def weights(*shape: int) -> T:
    """Give a constant float32 tensor of ones."""
    return T(shape, data=np.ones(shape, np.float32).tobytes())


def _code(b: flatbuffers.Builder, op: Op) -> int:
    custom = b.CreateString(op.custom) if op.custom else None
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(op.code, 127))
    tflite.OperatorCodeAddBuiltinCode(b, op.code)
    tflite.OperatorCodeAddVersion(b, 1)
    if custom is not None:
        tflite.OperatorCodeAddCustomCode(b, custom)
    return tflite.OperatorCodeEnd(b)


def _tensor(b: flatbuffers.Builder, tensor: T, buffer: int) -> int:
    shape, name = _ints(b, tensor.shape), b.CreateString(f"t{buffer}")
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, tensor.type)
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, name)
    tflite.TensorAddIsVariable(b, tensor.variable)
    return tflite.TensorEnd(b)


def _operator(b: flatbuffers.Builder, op: Op, code: int) -> int:
    inputs, outputs = _ints(b, op.inputs), _ints(b, op.outputs)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, inputs)
    tflite.OperatorAddOutputs(b, outputs)
    return tflite.OperatorEnd(b)


def _buffer(b: flatbuffers.Builder, data: bytes) -> int:
    vector = b.CreateNumpyVector(np.frombuffer(data, np.uint8)) if data else None
    tflite.BufferStart(b)
    if vector is not None:
        tflite.BufferAddData(b, vector)
    return tflite.BufferEnd(b)


def _ints(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    return b.CreateNumpyVector(np.asarray(values, np.int32))


def _offsets(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()
