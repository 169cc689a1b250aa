"""Write `edged/calibrate/graphs.zip`, the nets that a calibration runs: `python scripts/calibration_graphs.py`.

Each is a chain of one kind of operator in shapes near those of small sensor nets, so that what an operator costs can be told
from what a call costs. Weights are a pattern: their values do not matter to time, and the pattern packs well.
Needs the packages flatbuffers and tflite, which are in the extra `test`.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import flatbuffers
import numpy as np
import tflite

TARGET = Path(__file__).parent.parent / "edged" / "calibrate" / "graphs.zip"
KINDS = ("float32", "int8", "hybrid")
_BUILTIN, _TYPES = tflite.BuiltinOperator, tflite.TensorType
_TYPE = {"float32": _TYPES.FLOAT32, "int8": _TYPES.INT8, "int32": _TYPES.INT32}
_ACTIVATION_SCALE, _WEIGHT_SCALE = 0.05, 0.002
_RELU = 1
_VERSIONS = {  # of an operator, by what it computes with
    _BUILTIN.FULLY_CONNECTED: {"float32": 1, "int8": 4, "hybrid": 3},
    _BUILTIN.CONV_2D: {"float32": 1, "int8": 3, "hybrid": 5},
    _BUILTIN.DEPTHWISE_CONV_2D: {"float32": 1, "int8": 3, "hybrid": 6},
    _BUILTIN.ADD: {"float32": 1, "int8": 2, "hybrid": 1},
}
Options = Callable[[flatbuffers.Builder], "tuple[int, int]"]


@dataclass
class Tensor:
    """A tensor; `scales` empty: not quantized."""

    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    buffer: int = 0
    axis: int = 0


class Net:
    """A chain of operators; `kind` is float32, int8, or hybrid: int8 weights under float32 values."""

    def __init__(self, kind: str, shape: tuple[int, ...]) -> None:
        self.kind = kind
        self.values = "int8" if kind == "int8" else "float32"
        self.tensors: list[Tensor] = []
        self.ops: list[tuple[int, list[int], int, Options]] = []
        self.buffers: list[bytes] = [b""]
        self.last = self._value(shape)

    def dense(self, outputs: int) -> Net:
        """Add a FULLY_CONNECTED."""
        weights = self._weights((outputs, self._shape[-1]), None)
        return self._op(_BUILTIN.FULLY_CONNECTED, [self.last, weights, self._bias(outputs, 1)], (1, outputs), _dense_options)

    def conv(self, outputs: int, kernel: int, stride: int = 1) -> Net:
        """Add a CONV_2D of a square kernel, padded to the same size."""
        weights = self._weights((outputs, kernel, kernel, self._shape[-1]), 0)
        return self._spatial(_BUILTIN.CONV_2D, weights, outputs, stride, _conv_options(stride))

    def depthwise(self, kernel: int, stride: int = 1) -> Net:
        """Add a DEPTHWISE_CONV_2D of a square kernel, padded to the same size."""
        channels = self._shape[-1]
        weights = self._weights((1, kernel, kernel, channels), 3)
        return self._spatial(_BUILTIN.DEPTHWISE_CONV_2D, weights, channels, stride, _depthwise_options(stride))

    def add(self) -> Net:
        """Add the value to itself."""
        return self._op(_BUILTIN.ADD, [self.last, self.last], self._shape, _add_options)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.tensors[self.last].shape

    def _spatial(self, code: int, weights: int, outputs: int, stride: int, options: Options) -> Net:
        _, height, width, _ = self._shape
        shape = (1, -(-height // stride), -(-width // stride), outputs)
        return self._op(code, [self.last, weights, self._bias(outputs, outputs)], shape, options)

    def _op(self, code: int, inputs: list[int], shape: tuple[int, ...], options: Options) -> Net:
        self.last = self._value(shape)
        self.ops.append((code, inputs, self.last, options))
        return self

    def _tensor(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _value(self, shape: tuple[int, ...]) -> int:
        return self._tensor(Tensor(shape, self.values, (_ACTIVATION_SCALE,) if self.values == "int8" else ()))

    def _weights(self, shape: tuple[int, ...], axis: int | None) -> int:
        pattern = np.arange(prod(shape)) * 37 % 101 - 50
        if self.kind == "float32":
            return self._constant(shape, "float32", (), (pattern / 500).astype(np.float32))
        scales = (_WEIGHT_SCALE,) * (1 if axis is None else shape[axis])
        return self._constant(shape, "int8", scales, pattern.astype(np.int8), axis or 0)

    def _bias(self, outputs: int, scales: int) -> int:
        if self.values == "float32":
            return self._constant((outputs,), "float32", (), np.full(outputs, 0.01, np.float32))
        return self._constant((outputs,), "int32", (_ACTIVATION_SCALE * _WEIGHT_SCALE,) * scales, np.ones(outputs, np.int32))

    def _constant(self, shape: tuple[int, ...], dtype: str, scales: tuple[float, ...], data: np.ndarray, axis: int = 0) -> int:
        self.buffers.append(data.tobytes())
        return self._tensor(Tensor(shape, dtype, scales, len(self.buffers) - 1, axis))

    def write(self) -> bytes:
        """Give the bytes of the .tflite file."""
        b = flatbuffers.Builder(1 << 16)
        codes = sorted({code for code, *_ in self.ops})
        listed_codes = _offsets(b, [_code(b, code, _VERSIONS[code][self.kind]) for code in codes])
        buffers = _offsets(b, [_buffer(b, data) for data in self.buffers])
        tensors = _offsets(b, [_tensor(b, tensor) for tensor in self.tensors])
        ops = _offsets(b, [_operator(b, codes.index(code), inputs, output, options) for code, inputs, output, options in self.ops])
        inputs, outputs = _ints(b, [0]), _ints(b, [self.last])
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        tflite.SubGraphAddOperators(b, ops)
        subgraphs = _offsets(b, [tflite.SubGraphEnd(b)])
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, listed_codes)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())


def nets() -> Iterator[tuple[str, Net]]:
    """Give name and net of all graphs; a name is `kind.what-shape`, and what is before the shape is what it is for."""
    for kind in KINDS:
        for size, layers in ((8, 1), (64, 8), (128, 6), (256, 4), (512, 2)):
            yield f"{kind}.dense-{size}x{layers}", _chain(kind, (1, size), layers, lambda net, size=size: net.dense(size))
        for place, channels, kernel, layers in ((4, 8, 3, 6), (24, 16, 3, 2), (12, 32, 3, 2), (6, 64, 3, 2), (12, 48, 1, 4), (20, 64, 1, 2),
                                                (5, 128, 1, 3), (32, 8, 1, 3), (12, 16, 5, 2), (6, 128, 3, 1)):  # fmt: skip
            yield (
                f"{kind}.conv-{place}x{channels}k{kernel}x{layers}",
                _chain(kind, (1, place, place, channels), layers, lambda net, c=channels, k=kernel: net.conv(c, k)),
            )
        for place, channels, outputs, kernel, stride in ((40, 3, 8, 3, 2), (40, 1, 32, 8, 2), (28, 3, 16, 3, 1), (16, 16, 32, 3, 2)):
            yield (
                f"{kind}.conv-{place}x{channels}-{outputs}k{kernel}s{stride}",
                Net(kind, (1, place, place, channels)).conv(outputs, kernel, stride),
            )
        for place, channels, layers in ((4, 8, 6), (32, 8, 2), (20, 24, 3), (12, 64, 3), (6, 128, 4), (3, 192, 5)):
            yield (
                f"{kind}.depthwise-{place}x{channels}x{layers}",
                _chain(kind, (1, place, place, channels), layers, lambda net: net.depthwise(3)),
            )
        yield f"{kind}.mixed-32x16x9", _mixed(kind)
        if kind != "hybrid":
            for elements, layers in ((64, 6), (2048, 4), (16384, 3)):
                yield f"{kind}.elements-{elements}x{layers}", _chain(kind, (1, elements), layers, Net.add)


def _chain(kind: str, shape: tuple[int, ...], layers: int, add: Callable[[Net], Net]) -> Net:
    net = Net(kind, shape)
    for _ in range(layers):
        net = add(net)
    return net


def _mixed(kind: str) -> Net:
    """Give a net of nine layers, as small ones are: for memory only, and time is not fitted to it."""
    net = Net(kind, (1, 32, 32, 8)).conv(16, 3)
    for outputs in (32, 48, 64, 96):
        net = net.depthwise(3, stride=2 if outputs > 32 else 1).conv(outputs, 1)
    return net


def archive() -> bytes:
    """Give the bytes of the archive; the same at each call with the same zlib."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name, net in nets():
            info = zipfile.ZipInfo(f"{name}.tflite")
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, net.write())
    return data.getvalue()


def _dense_options(b: flatbuffers.Builder) -> tuple[int, int]:
    tflite.FullyConnectedOptionsStart(b)
    tflite.FullyConnectedOptionsAddFusedActivationFunction(b, _RELU)
    return tflite.BuiltinOptions.FullyConnectedOptions, tflite.FullyConnectedOptionsEnd(b)


def _add_options(b: flatbuffers.Builder) -> tuple[int, int]:
    tflite.AddOptionsStart(b)
    return tflite.BuiltinOptions.AddOptions, tflite.AddOptionsEnd(b)


def _conv_options(stride: int) -> Options:
    def write(b: flatbuffers.Builder) -> tuple[int, int]:
        tflite.Conv2DOptionsStart(b)
        tflite.Conv2DOptionsAddStrideW(b, stride)
        tflite.Conv2DOptionsAddStrideH(b, stride)
        tflite.Conv2DOptionsAddFusedActivationFunction(b, _RELU)
        return tflite.BuiltinOptions.Conv2DOptions, tflite.Conv2DOptionsEnd(b)

    return write


def _depthwise_options(stride: int) -> Options:
    def write(b: flatbuffers.Builder) -> tuple[int, int]:
        tflite.DepthwiseConv2DOptionsStart(b)
        tflite.DepthwiseConv2DOptionsAddStrideW(b, stride)
        tflite.DepthwiseConv2DOptionsAddStrideH(b, stride)
        tflite.DepthwiseConv2DOptionsAddDepthMultiplier(b, 1)
        tflite.DepthwiseConv2DOptionsAddFusedActivationFunction(b, _RELU)
        return tflite.BuiltinOptions.DepthwiseConv2DOptions, tflite.DepthwiseConv2DOptionsEnd(b)

    return write


def _code(b: flatbuffers.Builder, code: int, version: int) -> int:
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, code)
    tflite.OperatorCodeAddBuiltinCode(b, code)
    tflite.OperatorCodeAddVersion(b, version)
    return tflite.OperatorCodeEnd(b)


def _tensor(b: flatbuffers.Builder, tensor: Tensor) -> int:
    constant = tensor.buffer > 0
    shape, signature = _ints(b, tensor.shape), _ints(b, tensor.shape if constant else (-1, *tensor.shape[1:]))
    quantization = _quantization(b, tensor) if tensor.scales else None
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, _TYPE[tensor.dtype])
    tflite.TensorAddBuffer(b, tensor.buffer)
    tflite.TensorAddShapeSignature(b, signature)
    if quantization is not None:
        tflite.TensorAddQuantization(b, quantization)
    return tflite.TensorEnd(b)


def _quantization(b: flatbuffers.Builder, tensor: Tensor) -> int:
    scales = b.CreateNumpyVector(np.asarray(tensor.scales, np.float32))
    zeros = b.CreateNumpyVector(np.zeros(len(tensor.scales), np.int64))
    tflite.QuantizationParametersStart(b)
    tflite.QuantizationParametersAddScale(b, scales)
    tflite.QuantizationParametersAddZeroPoint(b, zeros)
    tflite.QuantizationParametersAddQuantizedDimension(b, tensor.axis)
    return tflite.QuantizationParametersEnd(b)


def _operator(b: flatbuffers.Builder, code: int, inputs: list[int], output: int, options: Options) -> int:
    kind, written = options(b)
    took, gave = _ints(b, inputs), _ints(b, [output])
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, took)
    tflite.OperatorAddOutputs(b, gave)
    tflite.OperatorAddBuiltinOptionsType(b, kind)
    tflite.OperatorAddBuiltinOptions(b, written)
    return tflite.OperatorEnd(b)


def _buffer(b: flatbuffers.Builder, data: bytes) -> int:
    vector = None
    if data:
        b.StartVector(1, len(data), 16)  # kernels read weights in blocks of 16 bytes
        b.head -= len(data)
        b.Bytes[b.head : b.head + len(data)] = data
        vector = b.EndVector()
    tflite.BufferStart(b)
    if vector is not None:
        tflite.BufferAddData(b, vector)
    return tflite.BufferEnd(b)


def _ints(b: flatbuffers.Builder, values: tuple[int, ...] | list[int]) -> int:
    return b.CreateNumpyVector(np.asarray(values, np.int32))


def _offsets(b: flatbuffers.Builder, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


if __name__ == "__main__":
    TARGET.write_bytes(archive())
    sys.stderr.write(f"{TARGET}: {TARGET.stat().st_size} bytes\n")
