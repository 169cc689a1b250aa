"""Graphs that no shipped net has: with state, with several tensors, of odd shapes; made here with the schema that LiteRT brings."""

from __future__ import annotations

import copy
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edged.engines.base import Tensor
from edged.engines.choose import open_engine
from edged.engines.quantize import Affine
from edged.errors import PublisherError
from tests.test_engines import Ticks, each_runtime, opened_by

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs the package ai-edge-litert (its flatbuffer schema)")
flatbuffers = pytest.importorskip("flatbuffers", reason="needs the package flatbuffers")


def tensor(
    name: str,
    shape: Sequence[int],
    buffer: int = 0,
    dtype: str = "FLOAT32",
    *,
    variable: bool = False,
    signature: Sequence[int] = (),
    scales: Sequence[float] = (),
    zero_points: Sequence[int] = (),
) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.isVariable, made.type = name, list(shape), buffer, variable, getattr(schema.TensorType, dtype)
    made.shapeSignature = list(signature or shape)
    if scales:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = list(scales), list(zero_points or [0] * len(scales))
    return made


def operator(code: int, inputs: Sequence[int], outputs: Sequence[int], kind: str, **options: Any) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, list(inputs), list(outputs)
    made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    made.builtinOptions = getattr(schema, f"{kind}T")()
    for name, value in options.items():
        setattr(made.builtinOptions, name, value)
    return made


def subgraph(tensors: list[Any], inputs: list[int], outputs: list[int], operators: list[Any]) -> Any:
    made = schema.SubGraphT()
    made.tensors, made.inputs, made.outputs, made.operators = tensors, inputs, outputs, operators
    return made


def write(path: Path, codes: Sequence[str], graphs: list[Any], constants: Sequence[np.ndarray[Any, Any]] = ()) -> Path:
    """Write a .tflite; buffer 0 is empty, constants are buffers 1, 2, …"""
    model = schema.ModelT()
    model.version, model.description, model.subgraphs = 3, "made by a test", graphs
    model.operatorCodes = []
    for name in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        model.operatorCodes.append(code)
    model.buffers = [schema.BufferT()]
    for constant in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(constant.tobytes(), np.uint8)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.fixture
def rnn(tmp_path: Path) -> Path:
    """One unit with a variable tensor h: h = x + 0.5 h, given out at each of two steps."""
    tensors = [
        tensor("x", [1, 2, 1]),
        tensor("w", [1, 1], 1),
        tensor("r", [1, 1], 2),
        tensor("b", [1], 3),
        tensor("h", [1, 1], variable=True),
        tensor("y", [1, 2, 1]),
    ]
    run = operator(0, [0, 1, 2, 3, 4], [5], "SequenceRNNOptions", timeMajor=False, fusedActivationFunction=0)
    constants = [np.float32([1]), np.float32([0.5]), np.float32([0])]
    return write(tmp_path / "rnn.tflite", ["UNIDIRECTIONAL_SEQUENCE_RNN"], [subgraph(tensors, [0], [5], [run])], constants)


@pytest.fixture
def accumulator(tmp_path: Path) -> Path:
    """A resource variable, as Keras writes state: v = v + x, given out; v starts at 10."""
    main = subgraph(
        [tensor("x", [1, 1]), tensor("handle", [], dtype="RESOURCE"), tensor("v", [1, 1]), tensor("y", [1, 1])],
        [0],
        [3],
        [
            operator(0, [], [], "CallOnceOptions", initSubgraphIndex=1),
            operator(1, [], [1], "VarHandleOptions", container="", sharedName="v"),
            operator(2, [1], [2], "ReadVariableOptions"),
            operator(3, [2, 0], [3], "AddOptions"),
            operator(4, [1, 3], [], "AssignVariableOptions"),
        ],
    )
    start = subgraph(
        [tensor("handle", [], dtype="RESOURCE"), tensor("ten", [1, 1], 1)],
        [],
        [],
        [operator(1, [], [0], "VarHandleOptions", container="", sharedName="v"), operator(4, [0, 1], [], "AssignVariableOptions")],
    )
    codes = ["CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ADD", "ASSIGN_VARIABLE"]
    return write(tmp_path / "accumulator.tflite", codes, [main, start], [np.float32([10])])


@each_runtime
def test_a_variable_tensor_is_found_carries_on_and_is_reset(runtime: str, rnn: Path) -> None:
    engine = open_engine(rnn, "tflite", prefer=runtime)
    ones = np.ones((1, 2, 1), np.float32)

    assert engine.stateful
    assert engine.batch == 1
    assert engine.infer(ones).ravel().tolist() == [1.0, 1.5]
    assert engine.infer(ones).ravel().tolist() == [1.75, 1.875]
    engine.reset()
    assert engine.infer(ones).ravel().tolist() == [1.0, 1.5]


@each_runtime
def test_a_resource_variable_is_found_carries_on_and_is_reset(runtime: str, accumulator: Path) -> None:
    engine = open_engine(accumulator, "tflite", prefer=runtime)
    one = np.ones((1, 1), np.float32)

    assert engine.stateful
    assert [engine.infer(one).item(), engine.infer(one).item()] == [11.0, 12.0]
    engine.reset()
    assert engine.infer(one).item() == 11.0


def quantize_op(
    path: Path, *, shape: Sequence[int] = (1, 4), out: Any = None, inputs: list[int] | None = None, signature: Any = ()
) -> Path:
    """A graph of one QUANTIZE from float32 to `out`."""
    tensors = [tensor("x", shape, signature=signature), out, tensor("second", [1, 4])]
    run = operator(0, [0], [1], "QuantizeOptions")
    return write(path, ["QUANTIZE"], [subgraph(tensors, inputs or [0], [1], [run])])


def add(path: Path, x: Any, y: Any) -> Path:
    """A graph y = x + x."""
    run = operator(0, [0, 0], [1], "AddOptions")
    return write(path, ["ADD"], [subgraph([x, y], [0], [1], [run])])


SCALES = [("INT8", 0.5, 3), ("INT8", 0.3910152316, 89), ("UINT8", 0.1, 128), ("INT16", 0.002, 0)]


@each_runtime
@pytest.mark.parametrize("resolver", ["xnnpack", "builtin"])
@pytest.mark.parametrize(("dtype", "scale", "zero_point"), SCALES)
def test_numbers_become_integers_as_the_runtimes_own_quantize_makes_them(
    runtime: str, resolver: str, tmp_path: Path, dtype: str, scale: float, zero_point: int
) -> None:
    """To the bit with LiteRT; tflite-runtime rounds halves another way, and those may be one step off."""
    out = tensor("y", [1, 4000], dtype=dtype, scales=[scale], zero_points=[zero_point])
    engine = open_engine(quantize_op(tmp_path / "q.tflite", shape=[1, 4000], out=out), "tflite", prefer=runtime, resolver=resolver)
    halves = np.arange(-2000, 2000, dtype=np.float32)[None] * np.float32(scale / 2)  # every second one lies between two integers
    ours, _ = Affine(Tensor("y", (4000,), dtype.lower(), engine.output.scale, zero_point, False)).quantize(halves)

    off = np.abs(engine.infer_raw(halves).astype(np.int32) - ours.astype(np.int32))

    assert not off[:, ::2].any()
    assert off.max() <= (0 if runtime == "litert" and platform.machine() == "x86_64" else 1)


@each_runtime
@pytest.mark.parametrize(("dtype", "scale", "zero_point"), SCALES)
def test_integers_become_numbers_as_the_runtimes_own_dequantize_makes_them(
    runtime: str, tmp_path: Path, dtype: str, scale: float, zero_point: int
) -> None:
    """To the bit with tflite-runtime; LiteRT computes q * scale - zero_point * scale, and loses a little more."""
    into = tensor("x", [1, 256], dtype=dtype, scales=[scale], zero_points=[zero_point])
    run = operator(0, [0], [1], "DequantizeOptions")
    path = write(tmp_path / "d.tflite", ["DEQUANTIZE"], [subgraph([into, tensor("y", [1, 256])], [0], [1], [run])])
    engine = open_engine(path, "tflite", prefer=runtime, resolver="builtin")
    integers = (np.arange(256) + np.iinfo(engine.input.dtype).min).astype(engine.input.dtype)[None]

    ours, theirs = Affine(engine.input).dequantize(integers), engine.infer_raw(integers)

    np.testing.assert_allclose(ours, theirs, rtol=0, atol=scale * 1e-4 if runtime == "litert" else 0)


@each_runtime
def test_a_graph_with_two_inputs_is_refused_by_their_names(runtime: str, tmp_path: Path) -> None:
    out = tensor("y", [1, 4], dtype="INT8", scales=[1.0])

    with pytest.raises(PublisherError, match=r"2 inputs \(x, second\)") as error:
        open_engine(quantize_op(tmp_path / "q.tflite", out=out, inputs=[0, 2]), "tflite", prefer=runtime)
    assert error.value.code == "tensors-unsupported"


@each_runtime
def test_a_graph_with_two_outputs_is_refused_by_their_names(runtime: str, tmp_path: Path) -> None:
    run = operator(0, [0, 0], [1], "AddOptions")
    tensors = [tensor("x", [1, 4]), tensor("y", [1, 4])]
    path = write(tmp_path / "two.tflite", ["ADD"], [subgraph(tensors, [0], [1, 0], [run])])

    with pytest.raises(PublisherError, match=r"2 outputs \(y, x\)"):
        open_engine(path, "tflite", prefer=runtime)


@each_runtime
@pytest.mark.parametrize(
    ("out", "why"),
    [
        (tensor("y", [1, 4], dtype="INT32"), "is int32"),
        (tensor("y", [1, 4], dtype="INT8", scales=[float("nan")]), "scale nan"),
        (tensor("y", [1, 4], dtype="INT8", scales=[float("inf")]), "scale inf"),
        (tensor("y", [1, 4], dtype="INT8", scales=[-0.5]), "scale -0.5"),
        (tensor("y", [1, 4], dtype="INT8", scales=[3e38]), "scale 3"),
        (tensor("y", [1, 4], dtype="INT8", scales=[0.5], zero_points=[300]), "zero point 300"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tensor_that_has_no_plain_conversion_is_refused(runtime: str, tmp_path: Path, out: Any, why: str) -> None:
    with pytest.raises(PublisherError, match=why) as error:
        open_engine(add(tmp_path / "m.tflite", _like(out, "x"), out), "tflite", prefer=runtime)
    assert error.value.code in ("tensors-unsupported", "model-not-loadable")


def _like(out: Any, name: str) -> Any:
    twin = copy.copy(out)
    twin.name = name
    return twin


@each_runtime
def test_an_open_dimension_other_than_the_batch_is_refused(runtime: str, tmp_path: Path) -> None:
    path = add(tmp_path / "m.tflite", tensor("x", [1, 1, 3], signature=[-1, -1, 3]), tensor("y", [1, 1, 3], signature=[-1, -1, 3]))

    with pytest.raises(PublisherError, match=r"\(-1, -1, 3\)"):
        open_engine(path, "tflite", prefer=runtime)


@each_runtime
def test_tensors_without_a_batch_dimension_are_one_window(runtime: str, tmp_path: Path) -> None:
    """As sound nets have them: a plain run of samples."""
    engine = open_engine(add(tmp_path / "m.tflite", tensor("x", [5]), tensor("y", [5])), "tflite", prefer=runtime)
    inputs = np.arange(15, dtype=np.float32).reshape(3, 5)

    assert engine.input.shape == (5,)
    assert engine.batch == 1
    np.testing.assert_array_equal(engine.infer(inputs), inputs * 2)
    np.testing.assert_array_equal(engine.infer(inputs[:1]), inputs[:1] * 2)


@each_runtime
def test_a_graph_that_mixes_the_windows_of_a_batch_is_never_batched(runtime: str, tmp_path: Path) -> None:
    """It takes any number of windows, and subtracts their mean: a result would depend on its neighbours."""
    tensors = [
        tensor("x", [1, 4], signature=[-1, 4]),
        tensor("axis", [1], 1, "INT32"),
        tensor("mean", [1, 4]),
        tensor("y", [1, 4], signature=[-1, 4]),
    ]
    operators = [operator(0, [0, 1], [2], "ReducerOptions", keepDims=True), operator(1, [0, 2], [3], "SubOptions")]
    path = write(tmp_path / "mean.tflite", ["MEAN", "SUB"], [subgraph(tensors, [0], [3], operators)], [np.int32([0])])

    engine = opened_by(runtime, path, Ticks(1000))

    assert engine.input.batchable
    assert engine.batch == 1
    assert not engine.infer(np.ones((40, 4), np.float32)).any()


@each_runtime
def test_a_graph_with_its_batch_of_one_built_in_stays_single(runtime: str, tmp_path: Path) -> None:
    """It claims to take any number of windows, and reshapes to one."""
    tensors = [tensor("x", [1, 2, 3], signature=[-1, 2, 3]), tensor("shape", [2], 1, "INT32"), tensor("y", [1, 6], signature=[-1, 6])]
    run = operator(0, [0, 1], [2], "ReshapeOptions", newShape=[1, 6])
    path = write(tmp_path / "reshape.tflite", ["RESHAPE"], [subgraph(tensors, [0], [2], [run])], [np.int32([1, 6])])

    engine = opened_by(runtime, path, Ticks(1000))
    inputs = np.arange(18, dtype=np.float32).reshape(3, 2, 3)

    assert engine.batch == 1
    np.testing.assert_array_equal(engine.infer(inputs), inputs.reshape(3, 6))
