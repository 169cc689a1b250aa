"""What a graph holds and costs: against figures counted by hand and the official schema's reader; hostile files."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from edged.errors import PublisherError
from edged.models.arena import arena_bytes
from edged.models.costs import Macs, costs_of, costs_of_file
from edged.models.graph import Graph, OpInfo, SubGraph, TensorInfo, parse_graph, read_graph

tflite = pytest.importorskip("tflite", reason="needs the package tflite, the official schema's reader")

from tests.graphs import INT8, Op, T, build, weights  # noqa: E402

REPO = Path(__file__).parent.parent
MODELS = sorted([*(REPO / "tests" / "data").rglob("*.tflite"), *(REPO / "edged" / "demo").rglob("*.tflite")])
B = tflite.BuiltinOperator

# ResNet-8 on 32×32, 16×16 and 8×8 places with 16, 32 and 64 channels: 3×3 kernels, and 1×1 beside each stride.
RESNET_3X3 = 1024 * (3 * 16 + 2 * 16 * 16) + 256 * (16 * 32 + 32 * 32) + 64 * (32 * 64 + 64 * 64)
RESNET_1X1 = 256 * 16 * 32 + 64 * 32 * 64


def ids(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize(
    ("file", "macs", "compute"),
    [
        # 640-128×4-8-128×4-640: 2·640·128 + 6·128·128 + 2·128·8
        ("ad01/ad01_fp32.tflite", Macs(dense=264_192), "float32"),
        ("ad01/ad01_dynrange.tflite", Macs(dense=264_192), "hybrid"),
        ("ad01/ad01_int8.tflite", Macs(dense=264_192), "int8"),
        ("ad01/ad01_int8_floatio.tflite", Macs(dense=264_192), "int8"),
        # 25×5 places: 64 kernels of 10×4, then four times 3×3 depthwise and 64×64 pointwise; 64×12 at the end
        ("kws/kws_ref_model_int8.tflite", Macs(dense=768, conv=125 * 64 * 40 + 4 * 125 * 64 * 64, depthwise=4 * 125 * 64 * 9), "int8"),
        ("kws/kws_ref_model_float32.tflite", Macs(dense=768, conv=125 * 64 * 40 + 4 * 125 * 64 * 64, depthwise=4 * 125 * 64 * 9), "hybrid"),
        # ResNet-8 for CIFAR-10; MLPerf Tiny gives 12.5 million
        (
            "ic/resnet_ic_int8.tflite",
            Macs(dense=640, conv=9 * RESNET_3X3 + RESNET_1X1),
            "int8",
        ),
    ],
)  # fmt: skip
def test_macs_are_those_counted_by_hand(data: Path, file: str, macs: Macs, compute: str):
    costs = costs_of_file(data / file)
    assert costs.macs == macs
    assert costs.macs_total == macs.dense + macs.conv + macs.depthwise
    assert costs.compute == compute


def test_the_demo_model_costs_what_its_layers_say():
    graph = read_graph(REPO / "edged" / "demo" / "har" / "har_float.tflite")
    costs = costs_of(graph)
    assert costs.file_bytes == 531_296
    assert costs.macs.dense == sum(
        graph.subgraphs[0].tensors[op.inputs[1]].elements for op in graph.subgraphs[0].ops if op.name == "FULLY_CONNECTED"
    )
    assert costs.operators == {"CONV_2D": 2, "EXPAND_DIMS": 2, "FULLY_CONNECTED": 2, "RESHAPE": 2, "SOFTMAX": 1}


def test_weights_are_counted_once_and_float_weights_cost_four_times_int8(data: Path):
    # 264,192 weights, and biases of 4 bytes in both: 8 layers of 128, one of 8, one of 640
    fp32, int8 = (costs_of_file(data / "ad01" / f"ad01_{kind}.tflite").weight_bytes for kind in ("fp32", "int8"))
    assert fp32 == 4 * (264_192 + 8 * 128 + 8 + 640)
    assert int8 == 264_192 + 4 * (8 * 128 + 8 + 640)


@pytest.mark.parametrize("path", MODELS, ids=ids)
def test_graphs_are_as_the_official_schema_reads_them(path: Path):
    graph, model = read_graph(path), tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    names = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
    types = {code: name.lower() for name, code in vars(tflite.TensorType).items() if isinstance(code, int)}
    assert len(graph.subgraphs) == model.SubgraphsLength()
    for s, ours in enumerate(graph.subgraphs):
        theirs = model.Subgraphs(s)
        assert ours.inputs == tuple(theirs.InputsAsNumpy())
        assert ours.outputs == tuple(theirs.OutputsAsNumpy())
        assert len(ours.tensors) == theirs.TensorsLength()
        for t, tensor in enumerate(ours.tensors):
            other = theirs.Tensors(t)
            assert tensor.shape == (tuple(other.ShapeAsNumpy()) if other.ShapeLength() else ())
            assert tensor.signature == (tuple(other.ShapeSignatureAsNumpy()) if other.ShapeSignatureLength() else tensor.shape)
            assert (tensor.name, tensor.dtype, tensor.buffer) == (other.Name().decode(), types[other.Type()], other.Buffer())
            assert tensor.constant == model.Buffers(other.Buffer()).DataLength()
            assert tensor.variable == other.IsVariable()
            quantization = other.Quantization()
            scales = quantization.ScaleLength() if quantization else 0
            assert tensor.scales == scales
            if scales:
                assert (tensor.scale, tensor.zero_point) == (quantization.Scale(0), quantization.ZeroPoint(0))
        assert len(ours.ops) == theirs.OperatorsLength()
        for o, op in enumerate(ours.ops):
            code = model.OperatorCodes(theirs.Operators(o).OpcodeIndex())
            assert op.name == names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            assert op.custom == (code.CustomCode().decode() if code.CustomCode() else "")
            assert op.inputs == tuple(theirs.Operators(o).InputsAsNumpy())
            assert op.outputs == tuple(theirs.Operators(o).OutputsAsNumpy())


def test_custom_operators_are_named(data: Path):
    graph = read_graph(data / "broken" / "audio_preprocessor_int8.tflite")
    assert "SignalWindow" in graph.custom_ops
    assert not read_graph(data / "kws" / "kws_ref_model_int8.tflite").custom_ops


def small(op: Op, tensors: list[T], inputs: tuple[int, ...] = (0,)) -> Graph:
    return parse_graph(build(tensors, [op], inputs, op.outputs))


@pytest.mark.parametrize(
    ("op", "tensors", "macs"),
    [
        (Op(B.FULLY_CONNECTED, (0, 1, -1), (2,)), [T([3, 5]), weights(7, 5), T([3, 7])], Macs(dense=3 * 7 * 5)),
        (Op(B.BATCH_MATMUL, (0, 1), (2,)), [T([2, 3, 5]), weights(2, 5, 4), T([2, 3, 4])], Macs(dense=2 * 3 * 5 * 4)),
        (Op(B.BATCH_MATMUL, (0, 1), (2,)), [T([2, 5, 3]), weights(2, 4, 5), T([2, 3, 4])], Macs(dense=2 * 3 * 5 * 4)),
        (Op(B.CONV_2D, (0, 1), (2,)), [T([1, 8, 8, 4]), weights(6, 3, 3, 4), T([1, 8, 8, 6])], Macs(conv=8 * 8 * 6 * 9 * 4)),
        # two groups: each kernel sees half of the channels
        (Op(B.CONV_2D, (0, 1), (2,)), [T([1, 8, 8, 4]), weights(6, 3, 3, 2), T([1, 8, 8, 6])], Macs(conv=8 * 8 * 6 * 9 * 2)),
        (Op(B.DEPTHWISE_CONV_2D, (0, 1), (2,)), [T([1, 8, 8, 4]), weights(1, 3, 3, 4), T([1, 8, 8, 4])], Macs(depthwise=8 * 8 * 4 * 9)),
        (Op(B.CONV_3D, (0, 1), (2,)), [T([1, 4, 4, 4, 2]), weights(2, 2, 2, 2, 3), T([1, 3, 3, 3, 3])], Macs(conv=81 * 8 * 2)),
        (
            Op(B.TRANSPOSE_CONV, (3, 1, 0), (2,)),
            [T([1, 4, 4, 2]), weights(3, 2, 2, 2), T([1, 8, 8, 3]), T([4], tflite.TensorType.INT32, b"\1\0\0\0" * 4)],
            Macs(conv=32 * 3 * 2 * 2),
        ),
        (
            Op(B.UNIDIRECTIONAL_SEQUENCE_RNN, (0, 1, 2), (3,)),
            [T([1, 10, 4]), weights(6, 4), weights(6, 6), T([1, 10, 6])],
            Macs(other=10 * 60),
        ),
        (Op(B.SOFTMAX, (0,), (1,)), [T([1, 5]), T([1, 5])], Macs()),
    ],
)  # fmt: skip
def test_macs_of_each_class_of_operator(op: Op, tensors: list[T], macs: Macs):
    assert costs_of(small(op, tensors)).macs == macs


def test_other_operators_count_their_elements_and_views_none():
    mean = small(Op(B.MEAN, (0,), (1,)), [T([1, 8, 8, 4]), T([1, 4])])
    assert costs_of(mean).elementwise == 256
    view = small(Op(B.RESHAPE, (0,), (1,)), [T([1, 256]), T([1, 8, 8, 4])])
    assert costs_of(view).elementwise == 0


def test_int8_weights_under_float_activations_are_hybrid():
    graph = small(Op(B.FULLY_CONNECTED, (0, 1), (2,)), [T([1, 4]), T([2, 4], INT8, bytes(8)), T([1, 2])])
    assert costs_of(graph).compute == "hybrid"


def test_a_variable_tensor_makes_a_graph_stateful():
    tensors = [T([1, 4]), weights(2, 4), T([1, 2]), T([1, 2], variable=True)]
    assert small(Op(B.FULLY_CONNECTED, (0, 1), (2,)), tensors).stateful


@pytest.mark.parametrize("code", [B.VAR_HANDLE, B.UNIDIRECTIONAL_SEQUENCE_LSTM, B.LSTM, B.SVDF, B.RNN])
def test_operators_that_remember_make_a_graph_stateful(code: int):
    assert small(Op(code, (0,), (1,)), [T([1, 4]), T([1, 4])]).stateful
    assert not small(Op(B.SOFTMAX, (0,), (1,)), [T([1, 4]), T([1, 4])]).stateful


# The arena.


def line(*sizes: int) -> SubGraph:
    """Give a graph of one operator after another, whose tensors have these bytes."""
    tensors = tuple(TensorInfo("", (size,), (size,), "int8", 8, 0, 0, 0, 0, 0, False) for size in sizes)
    ops = tuple(OpInfo("ABS", "", (i,), (i + 1,)) for i in range(len(sizes) - 1))
    return SubGraph(tensors, ops, (0,), (len(sizes) - 1,))


def test_the_arena_of_a_line_reuses_what_is_over():
    # The input stays; of the others two live at a time, the largest pair being 640 + 256.
    assert arena_bytes(line(64, 128, 640, 256, 128, 64)) == 64 + 640 + 256


def test_the_arena_is_aligned():
    assert arena_bytes(line(1, 1)) == 128


def test_the_arena_holds_variables_beside_all_else():
    graph = small(Op(B.SOFTMAX, (0,), (1,)), [T([1, 16]), T([1, 16]), T([1, 16], variable=True)])
    assert arena_bytes(graph.subgraphs[0]) == 192


def test_the_arena_is_never_less_than_what_lives_at_once_nor_more_than_all():
    chance = random.Random(7)
    for _ in range(60):
        sizes = [64 * chance.randint(1, 50) for _ in range(chance.randint(2, 30))]
        least = max(a + b for a, b in pairwise(sizes))
        assert least <= arena_bytes(line(*sizes)) <= sum(sizes)


# Hostile files.


def outcome(data: bytes) -> str:
    try:
        costs_of(parse_graph(data))
    except PublisherError as error:
        return error.code
    return "read"


@pytest.mark.parametrize("path", MODELS, ids=ids)
def test_a_file_cut_at_any_place_is_malformed(path: Path):
    data = path.read_bytes()
    codes = {outcome(data[:at]) for at in range(0, len(data), max(64, len(data) // 4096 * 64))}
    assert codes == {"tflite-malformed"}


@pytest.mark.parametrize("path", MODELS, ids=ids)
def test_flipped_bytes_raise_nothing_but_malformed(path: Path):
    data, chance = path.read_bytes(), random.Random(path.name)
    # The tables stand around the weights: at both ends of the file.
    ends = [*range(min(len(data), 4096)), *range(max(0, len(data) - 12_288), len(data))]
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(chance.choice([1, 1, 4, 32])):
            changed[chance.choice(ends)] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        assert outcome(bytes(changed)) in ("read", "tflite-malformed")


def hostile() -> Iterator[tuple[str, bytes]]:
    head = b"TFL3"
    yield "nothing", b""
    yield "only an identifier", b"\0\0\0\0TFL3"
    yield "root beyond the end", b"\xff\xff\xff\xff" + head + bytes(64)
    yield "a table that is its own vtable", (8).to_bytes(4, "little") + head + bytes(64)
    yield "another identifier", build([T([1])], [], (0,), (0,), b"GGUF")
    yield "a shape of 2^93 elements", build([T([2**31 - 1] * 3)], [], (0,), (0,))
    yield "a shape with a negative size", build([T([-7])], [], (0,), (0,))
    yield "17 axes", build([T([1] * 17)], [], (0,), (0,))
    yield "an input that is not there", build([T([1])], [], (5,), (0,))
    yield "an operator on a tensor that is not there", build([T([1])], [Op(B.ABS, (9,), (0,))], (0,), (0,))
    yield "more tensors than any model has", build([T([1])] * 5000, [], (0,), (0,))


@pytest.mark.parametrize(("name", "data"), [pytest.param(*case, id=case[0]) for case in hostile()])
def test_a_hostile_file_is_malformed(name: str, data: bytes):
    assert outcome(data) == "tflite-malformed"


def test_a_graph_that_claims_endless_work_is_refused_early():
    """Offsets may alias, so that a list costs nothing on disk: what counts is how much is read."""
    data = bytearray(build([T([1])], [Op(B.ABS, [0] * 2000, (0,))] * 500, (0,), (0,)))
    tracemalloc.start()
    assert outcome(bytes(data)) == "tflite-malformed"
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_file_that_is_not_there_or_empty_is_our_error(tmp_path: Path):
    with pytest.raises(PublisherError) as caught:
        read_graph(tmp_path / "no.tflite")
    assert caught.value.code == "tflite-unreadable"
    (tmp_path / "empty.tflite").touch()
    with pytest.raises(PublisherError) as caught:
        read_graph(tmp_path / "empty.tflite")
    assert caught.value.code == "tflite-malformed"
