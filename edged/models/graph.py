"""Read what a TFLite file computes: its tensors and operators, without running it.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, TensorFlow 2.18; the numbers of the
fields stand beside the reads. Weights are not read, only counted: a file may be mapped.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path

from edged.errors import PublisherError
from edged.models.flatbuffer import Bytes, Table, malformed, root
from edged.models.tflite_names import CUSTOM, op_name, type_name

MAX_TENSORS = 4096  # of a file; the largest models for small boards have about 3000
_MAX_RANK = 16
_MAX_ELEMENTS = 1 << 40

# Operators that keep something from one call to the next, even where no tensor is marked as a variable.
STATEFUL_OPS = frozenset(
    {
        "VAR_HANDLE", "ASSIGN_VARIABLE", "LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN",
    }
)  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor. `shape` has the batch first; a size that may vary is -1 in `signature` and 1 or more in `shape`.

    `scale` 0: not quantized; `scales` counts them, more than 1: one a channel. `constant` is
    the length in bytes of its data in the file, 0 where it is computed.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    bits: int
    scale: float
    zero_point: int
    scales: int
    buffer: int
    constant: int
    variable: bool

    @property
    def elements(self) -> int:
        """Count the values; sizes that may vary count as in `shape`."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Give the bytes of all values in memory."""
        return (self.elements * self.bits + 7) // 8


@dataclass(frozen=True)
class OpInfo:
    """One operator; `custom` is its name where it is not a builtin. An input of -1 is left out."""

    name: str
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class SubGraph:
    """Operators in the order they run, over numbered tensors."""

    tensors: tuple[TensorInfo, ...]
    ops: tuple[OpInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A whole file; the first subgraph is the one that is run, others are called by it."""

    subgraphs: tuple[SubGraph, ...]
    file_bytes: int

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Give the tensors that the model takes."""
        return tuple(self.subgraphs[0].tensors[i] for i in self.subgraphs[0].inputs)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Give the tensors that the model gives."""
        return tuple(self.subgraphs[0].tensors[i] for i in self.subgraphs[0].outputs)

    @property
    def custom_ops(self) -> tuple[str, ...]:
        """Give the names of operators that no plain runtime has."""
        return tuple(sorted({op.custom for sub in self.subgraphs for op in sub.ops if op.custom}))

    @property
    def stateful(self) -> bool:
        """Say whether a call depends on the calls before it."""
        return any(
            any(tensor.variable for tensor in sub.tensors) or any(op.name in STATEFUL_OPS for op in sub.ops)
            for sub in self.subgraphs
        )  # fmt: skip


def read_graph(path: Path) -> Graph:
    """Read the graph of a .tflite file.

    Raises PublisherError(`tflite-malformed`) for any file that is not one, and
    PublisherError(`tflite-unreadable`) where the system does not give it.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise malformed("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse_graph(data)
    except PublisherError as error:
        raise PublisherError(error.code, f"{path.name}: {error.text}", error.hint) from None
    except (OSError, ValueError) as error:
        raise PublisherError("tflite-unreadable", f"{path} cannot be read: {error}", "check its owner and mode") from None


def parse_graph(data: bytes | mmap.mmap) -> Graph:
    """Read the graph in the bytes of a .tflite file; PublisherError(`tflite-malformed`) for anything else."""
    model = root(Bytes(data), b"TFL3")
    if model.u32(0) != 3:
        raise malformed(f"its schema has version {model.u32(0)}, and 3 is known")
    codes = [_code(code) for code in model.tables(1)]
    buffers = [_buffer_bytes(buffer, len(data)) for buffer in model.tables(4)]
    subgraphs = tuple(_subgraph(each, codes, buffers) for each in model.tables(2))
    if not subgraphs:
        raise malformed("it has no graph")
    if sum(len(each.tensors) for each in subgraphs) > MAX_TENSORS:
        raise malformed(f"it has more than {MAX_TENSORS} tensors")
    return Graph(subgraphs, len(data))


def _code(table: Table) -> tuple[str, str]:
    # deprecated_builtin_code 0, custom_code 1, builtin_code 3: old writers know the first only
    code = max(table.i8(0), table.i32(3))
    return op_name(code), (table.text(1) or "?") if code == CUSTOM else ""


def _buffer_bytes(table: Table, file_bytes: int) -> int:
    # data 0; offset 1 and size 2 where the bytes stand after the flatbuffer (files over 2 GiB)
    offset, size = table.u64(1), table.u64(2)
    if offset > 1:
        if offset + size > file_bytes:
            raise malformed("the bytes of a buffer go beyond its end")
        return size
    return table.byte_count(0)


def _subgraph(table: Table, codes: list[tuple[str, str]], buffers: list[int]) -> SubGraph:
    tensors = tuple(_tensor(each, buffers) for each in table.tables(0, MAX_TENSORS))
    inputs, outputs = table.ints(1), table.ints(2)
    _hold(inputs, len(tensors), least=0)
    _hold(outputs, len(tensors), least=0)
    return SubGraph(tensors, tuple(_op(each, codes, len(tensors)) for each in table.tables(3)), inputs, outputs)


def _op(table: Table, codes: list[tuple[str, str]], tensors: int) -> OpInfo:
    index = table.u32(0)
    if index >= len(codes):
        raise malformed(f"an operator has code {index}, and there are {len(codes)}")
    inputs, outputs = table.ints(1), table.ints(2)
    _hold(inputs, tensors, least=-1)
    _hold(outputs, tensors, least=-1)
    return OpInfo(*codes[index], inputs, outputs)


def _hold(indexes: tuple[int, ...], tensors: int, least: int) -> None:
    for index in indexes:
        if not least <= index < tensors:
            raise malformed(f"it names tensor {index}, and there are {tensors}")


def _tensor(table: Table, buffers: list[int]) -> TensorInfo:
    # shape 0, type 1, buffer 2, name 3, quantization 4, is_variable 5, shape_signature 7
    shape = tuple(1 if size == -1 else size for size in table.ints(0))
    if len(shape) > _MAX_RANK or any(size < 0 for size in shape) or prod(shape) > _MAX_ELEMENTS:
        raise malformed(f"a tensor has the shape {list(shape[:_MAX_RANK])}")
    buffer = table.u32(2)
    if buffer >= len(buffers):
        raise malformed(f"a tensor has buffer {buffer}, and there are {len(buffers)}")
    quantization = table.table(4)
    scale, scales = quantization.first_float(2) if quantization else (0.0, 0)
    if scales and (not 0 <= scale < inf or (scale == 0 and not buffers[buffer])):
        raise malformed(f"a tensor is quantized in steps of {scale}")  # tflite-runtime aborts on such
    zero_point = quantization.first_long(3) if quantization else 0
    dtype, bits = type_name(table.i8(1))
    signature = table.ints(7) or shape
    if len(signature) != len(shape):
        raise malformed(f"a tensor has the shape {list(shape)} and the signature {list(signature[:_MAX_RANK])}")
    return TensorInfo(
        table.text(3), shape, signature, dtype, bits, scale, zero_point, scales, buffer, buffers[buffer], table.u8(5) != 0
    )  # fmt: skip
