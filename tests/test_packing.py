"""`edged pack`: every way a release can be wrong, goldens, hostile npz files."""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import BoardError, Fault, PublisherError, ReleaseFaults
from edged.models.graph import TensorInfo
from edged.models.packed import parse_packed, seal_file
from edged.models.schema import Golden
from edged.npz import read_arrays
from edged.packing.fit import fits, without_batch
from edged.packing.goldens import compare, why_not
from edged.packing.pack import pack

REPO = Path(__file__).parent.parent
HAR = REPO / "edged" / "demo" / "har"
DATA = REPO / "tests" / "data"


@pytest.fixture
def har(tmp_path: Path) -> Path:
    return copy(HAR, tmp_path)


def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / folder.name, copy_function=shutil.copyfile))


def edit(folder: Path, *changes: tuple[str, str]) -> Path:
    text = (folder / "model.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "model.toml").write_text(text)
    return folder


def faults(folder: Path) -> list[Fault]:
    with pytest.raises(ReleaseFaults) as caught:
        pack(folder, lambda text: None)
    assert not (folder / "release.json").exists()
    return caught.value.faults


def only(folder: Path) -> Fault:
    found = faults(folder)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("folder", [HAR, DATA / "ad01", DATA / "kws"], ids=lambda folder: folder.name)
def test_sound_releases_are_packed_with_every_golden_run(folder: Path, tmp_path: Path):
    folder = copy(folder, tmp_path)
    said: list[str] = []
    report = pack(folder, said.append)
    packed = parse_packed(report.path.read_bytes(), "")
    assert packed == report.packed
    variants = {variant.name for variant in report.manifest.variants}
    assert set(packed.costs) == {ran.variant for ran in report.ran} == variants
    assert all(packed.files[name] == seal_file(folder / name) for name in packed.files)
    assert "model.toml" in packed.files
    assert any("int8" in line or "fp32" in line for line in said)


def test_packing_twice_gives_the_same_bytes(har: Path):
    first = pack(har, lambda text: None).path.read_bytes()
    assert pack(har, lambda text: None).path.read_bytes() == first


def test_costs_are_written_for_each_variant(tmp_path: Path):
    packed = pack(copy(DATA / "ad01", tmp_path), lambda text: None).packed
    assert {name: cost.compute for name, cost in packed.costs.items()} == {
        "fp32": "float32",
        "dynrange": "hybrid",
        "int8": "int8",
        "int8-floatio": "int8",
    }
    assert {cost.macs_total for cost in packed.costs.values()} == {264_192}


def test_all_faults_come_at_once(har: Path):
    edit(har, ("samples = 260 ", "samples = 130 "), ("hop = 130", "hop = 0"), ('"walking", "running"]', '"walking"]'))
    edit(har, ("factor = 0.00025 }", 'factor = 0.00025 }, { op = "select", channels = ["w"] }'))
    codes = [fault.code for fault in faults(har)]
    assert codes == ["bad-value", "bad-preprocess", "labels-mismatch"]


def test_each_variant_is_held_to_the_manifest(tmp_path: Path):
    folder = edit(copy(DATA / "kws", tmp_path), ('"Silence", "Unknown"]', '"Silence"]'), ("shape = [49, 10, 1]", "shape = [10, 49]"))
    found = faults(folder)
    assert sorted(fault.code for fault in found) == ["labels-mismatch", "labels-mismatch", "shape-mismatch", "shape-mismatch"]
    assert {file for file in ("float32", "int8") for fault in found if f"kws_ref_model_{file}" in fault.text} == {"float32", "int8"}


# The chain and the tensor.


@pytest.mark.parametrize(
    ("changes", "text", "hint"),
    [
        ([("samples = 260 ", "samples = 130 ")], "[130, 3]", "mend samples"),
        ([("samples = 260 ", "samples = 130 "), ('[ { op = "scale", factor = 0.00025 } ]', "[]")], "[130, 3]", "`samples = 260`"),
        ([("factor = 0.00025 } ]", 'factor = 0.00025 }, { op = "flatten" } ]')], "[780]", "shape = [260, 3]"),
        ([("factor = 0.00025 } ]", 'factor = 0.00025 }, { op = "reshape", shape = [3, 260] } ]')], "[3, 260]", "other way round"),
    ],
)
def test_a_chain_that_does_not_fit_says_both_shapes_and_the_likely_fix(har: Path, changes, text: str, hint: str):
    fault = only(edit(har, *changes))
    assert fault.code == "shape-mismatch"
    assert text in fault.text
    assert "[260, 3]" in fault.text
    assert hint in fault.hint


def test_a_flat_tensor_wants_flatten(tmp_path: Path):
    found = faults(edit(copy(DATA / "ad01", tmp_path), ('[ { op = "flatten" } ]', "[]")))
    assert {fault.code for fault in found} == {"shape-mismatch"}
    assert len(found) == 4
    assert all('op = "flatten"' in fault.hint for fault in found)


def test_a_chain_that_does_not_compile_names_the_operation(har: Path):
    fault = only(edit(har, ("factor = 0.00025 } ]", 'factor = 0.00025 }, { op = "select", channels = ["w"] } ]')))
    assert (fault.code, fault.key) == ("bad-preprocess", "input.preprocess[1]")


def tensor(shape: tuple[int, ...], signature: tuple[int, ...] = ()) -> TensorInfo:
    return TensorInfo("", shape, signature or shape, "float32", 32, 0, 0, 0, 0, 0, False)


@pytest.mark.parametrize(
    ("shape", "wanted", "is_fit"),
    [
        ((260, 3), tensor((1, 260, 3)), True),
        ((260, 3), tensor((1, 260, 3, 1)), True),
        ((260, 3), tensor((1, 1, 260, 3)), True),
        ((260, 3), tensor((8, 260, 3), (-1, 260, 3)), True),
        ((260, 3), tensor((8, 260, 3)), False),
        ((260, 3), tensor((1, 780)), False),
        ((260, 3), tensor((1, 3, 260)), False),
        ((1, 5), tensor((1, 5)), True),
        ((1,), tensor((1, 1)), True),
    ],
)
def test_sizes_of_1_and_the_batch_do_not_count(shape: tuple[int, ...], wanted: TensorInfo, is_fit: bool):
    assert fits(shape, without_batch(wanted)) is is_fit


# The output.


def test_labels_must_be_as_many_as_outputs(har: Path):
    fault = only(edit(har, ('["stationary", "walking", "running"]', '["a", "b"]')))
    assert (fault.code, fault.key) == ("labels-mismatch", "output.labels")
    assert "3 values" in fault.text


def test_anomaly_by_difference_needs_an_output_like_the_input(har: Path):
    changes = [('task = "classify"', 'task = "anomaly"'), ('labels = ["stationary", "walking", "running"]', "threshold = 1.0")]
    assert only(edit(har, *changes)).code == "output-mismatch"
    assert only(edit(har, ("threshold = 1.0", 'threshold = 1.0\nscore = "output"'))).code == "output-mismatch"


# Files.


def test_a_model_with_operators_of_its_own_says_which(har: Path):
    shutil.copyfile(DATA / "broken" / "audio_preprocessor_int8.tflite", har / "har_float.tflite")
    edit(
        har,
        ('kind = "window"', 'kind = "tensor"'),
        ("hop = 130\n", ""),
        ("samples = 260 ", "samples = 480 "),
        ('["x", "y", "z"]', '["pcm"]'),
    )
    labels = ", ".join(f'"{i}"' for i in range(40))
    fault = only(edit(har, ('"stationary", "walking", "running"', labels)))
    assert (fault.code, fault.key) == ("model-not-loadable", "variants[0].file")
    assert "SignalWindow" in fault.text
    assert "built-in operators" in fault.hint


def test_a_truncated_model_is_said_to_be_one(har: Path):
    data = (har / "har_float.tflite").read_bytes()
    (har / "har_float.tflite").write_bytes(data[: len(data) // 2])
    fault = only(har)
    assert (fault.code, fault.key, fault.line) == ("tflite-malformed", "variants[0].file", line_of(har, 'file = "har_float'))
    assert "cut short" in fault.hint


def line_of(folder: Path, text: str) -> int:
    return next(i for i, line in enumerate((folder / "model.toml").read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x18\0\0\0TFL3" + bytes(100)])
def test_what_is_no_model_is_said_to_be_none(har: Path, content: bytes):
    (har / "har_float.tflite").write_bytes(content)
    assert only(har).code == "tflite-malformed"


def test_an_engine_for_texts_runs_no_windows(har: Path):
    fault = only(edit(har, ('engine = "tflite"', 'engine = "llama"')))
    assert (fault.code, fault.key) == ("wrong-engine", "variants[0].engine")


def test_a_folder_without_a_manifest_is_no_release(tmp_path: Path):
    with pytest.raises(PublisherError) as caught:
        pack(tmp_path, lambda text: None)
    assert caught.value.code == "no-manifest"


def test_state_must_be_said_and_must_be_there(har: Path):
    fault = only(edit(har, ('gap = "void"', 'gap = "void"\nstateful = true')))
    assert (fault.code, fault.key) == ("not-stateful", "input.stateful")


def test_a_graph_with_state_must_say_so(har: Path):
    pytest.importorskip("tflite", reason="needs the package tflite to write a graph with state")
    import tflite

    from tests.graphs import Op, T, build, weights

    tensors = [T([1, 260, 3]), weights(3, 780), T([1, 3]), T([1, 3], variable=True)]
    (har / "har_float.tflite").write_bytes(build(tensors, [Op(tflite.BuiltinOperator.FULLY_CONNECTED, (0, 1, -1), (2,))], (0,), (2,)))
    fault = only(har)
    assert (fault.code, fault.key) == ("stateful", "variants[0].file")
    assert "stateful = true" in fault.hint


def test_a_model_of_two_inputs_is_refused(har: Path):
    pytest.importorskip("tflite", reason="needs the package tflite to write a graph of two inputs")
    import tflite

    from tests.graphs import Op, T, build

    tensors = [T([1, 3]), T([1, 3]), T([1, 3])]
    (har / "har_float.tflite").write_bytes(build(tensors, [Op(tflite.BuiltinOperator.ADD, (0, 1), (2,))], (0, 1), (2,)))
    assert only(har).code == "tensors-unsupported"


# Goldens.


def goldens(har: Path) -> dict[str, np.ndarray]:
    with np.load(har / "golden-fp32.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lambda g: {"inputs": g["inputs"]}, "npz-malformed", "no array `outputs`"),
        (lambda g: {"x": g["inputs"]}, "npz-malformed", "there are: x"),
        (lambda g: {**g, "outputs": g["outputs"][:-1]}, "golden-mismatch", "one output for each"),
        (lambda g: {"inputs": g["inputs"][:0], "outputs": g["outputs"][:0]}, "golden-mismatch", "one output for each"),
        (lambda g: {**g, "inputs": np.float32(1)}, "golden-mismatch", "one output for each"),
        (lambda g: {**g, "inputs": g["inputs"].transpose(0, 2, 1)}, "golden-mismatch", "[n, 260, 3]"),
        (lambda g: {**g, "inputs": g["inputs"].astype(np.float64)}, "golden-mismatch", "float64"),
        (lambda g: {**g, "outputs": g["outputs"].astype(np.int8)}, "golden-mismatch", "int8"),
        (lambda g: {**g, "outputs": g["outputs"] * np.float32(np.nan)}, "golden-mismatch", "finite"),
        (lambda g: {**g, "inputs": g["inputs"].astype(object)}, "npz-malformed", "pickled"),
        (lambda g: {**g, "outputs": g["outputs"].astype("U3")}, "npz-malformed", "no tensor"),
    ],
)
def test_goldens_that_are_not_the_variants_tensors_are_refused(har: Path, change: Callable, code: str, text: str):
    np.savez(har / "golden-fp32.npz", **change(goldens(har)))
    found = faults(har)
    assert {(fault.code, fault.key) for fault in found} == {(code, "variants[0].golden.file")}
    assert text in found[0].text


def test_an_output_that_differs_says_where_how_much_and_on_which_engine(har: Path):
    arrays = goldens(har)
    arrays["outputs"][7, 2] += np.float32(0.25)
    np.savez(har / "golden-fp32.npz", **arrays)
    fault = faults(har)[0]
    assert (fault.code, fault.key) == ("golden-differs", "variants[0].golden")
    assert "0.25" in fault.text
    assert "golden 7 at [2]" in fault.text
    assert "xnnpack" in fault.text


def test_agreement_is_counted_by_top_1(har: Path):
    arrays = goldens(har)
    arrays["outputs"][:3] = [0, 0, 1]
    np.savez(har / "golden-fp32.npz", **arrays)
    edit(har, ("atol = 1e-4", "agree = 0.8"))
    pack(har, lambda text: None)
    (har / "release.json").unlink()
    assert "80.0%" in faults(edit(har, ("agree = 0.8", "agree = 0.81")))[0].text


def test_compare_takes_nan_for_infinitely_far():
    golden = np.zeros((2, 3), np.float32)
    computed = golden.copy()
    computed[1, 2] = np.nan
    compared = compare(computed, golden)
    assert (compared.error, compared.row, compared.index) == (np.inf, 1, (2,))
    assert why_not(compared, Golden(file="x", atol=1e9))


def test_compare_does_not_wrap_around_in_int8():
    compared = compare(np.array([[127]], np.int8), np.array([[-128]], np.int8))
    assert compared.error == 255


# Hostile npz.


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(PublisherError) as caught:
        read_arrays(path, ("a",))
    assert caught.value.code == "npz-malformed"
    return caught.value.text


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 9999999, 9999999), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': 4, }",
        b"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': '<f4'}",
        b"[1, 2]",
        b"__import__('os').system('true')",
        b"(" * 1000,
        b"-" * 1000 + b"1",
        b"\xff" * 40,
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), " + b" " * 60_000 + b"}",
    ],
)
def test_a_hostile_npy_header_is_refused(tmp_path: Path, header: bytes):
    refused(zipped(tmp_path / "x.npz", npy(header, bytes(4))))


def test_a_zip_bomb_is_refused_before_it_is_opened(tmp_path: Path):
    path = zipped(tmp_path / "x.npz", npy(b"x", bytes(200 << 20)), zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    assert "larger than 64 MiB" in refused(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_bomb_that_lies_about_its_size_is_not_unpacked_beyond_it(tmp_path: Path):
    data = bytearray(zipped(tmp_path / "x.npz", npy(b"x", bytes(100 << 20)), zipfile.ZIP_DEFLATED).read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24  # the size in the directory
    data[at : at + 4] = struct.pack("<I", 1000)
    (tmp_path / "x.npz").write_bytes(data)
    tracemalloc.start()
    refused(tmp_path / "x.npz")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_zip_with_an_immense_directory_is_refused_unread(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for i in range(2000):
            archive.writestr(f"{i}.npy", b"")
    assert "as numpy writes it" in refused(tmp_path / "x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(tmp_path: Path, method: int):
    assert "deflate" in refused(zipped(tmp_path / "x.npz", b"x" * 100, method))


@pytest.mark.parametrize("content", [b"", b"PK", b"hello" * 100, bytes(1000)])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.npz").write_bytes(content)
    refused(tmp_path / "x.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "int16", "uint8", "float64"])
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, dtype: str, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype, order=order)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", a=array)
        read = read_arrays(tmp_path / "x.npz", ("a",))["a"]
        assert read.dtype == array.dtype
        assert np.array_equal(read, array)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_bytes_of_an_npz_raise_anything_but_our_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(6, dtype=np.float32))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    path.write_bytes(content)
    with contextlib.suppress(PublisherError):
        read_arrays(path, ("a",))


def test_a_folder_that_cannot_be_written_is_the_boards_fault(har: Path):
    (har / ".release.json.part").mkdir()
    with pytest.raises(BoardError) as caught:
        pack(har, lambda text: None)
    assert caught.value.code == "folder-unwritable"


def test_release_json_holds_no_trace_of_the_machine(har: Path):
    content = msgspec.json.decode(pack(har, lambda text: None).path.read_bytes())
    assert str(har.parent) not in str(content)
    assert "litert" not in str(content)
