"""One suite over every runtime of the tflite engine, with nets and goldens made by others."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edged.engines.base import Engine
from edged.engines.choose import RUNTIMES, available, open_engine
from edged.engines.tflite import TfliteEngine
from edged.errors import BoardError, BugError, PublisherError
from tests.conftest import REPO
from tests.waiting import PATIENCE_S

TOO_NEW = importlib.util.find_spec("tflite_runtime") is not None and int(np.__version__.partition(".")[0]) >= 2


def needs(runtime: str) -> pytest.MarkDecorator:
    package, module = RUNTIMES[runtime]
    if runtime == "tflite-runtime" and TOO_NEW:
        return pytest.mark.skip(reason=f"{package} needs numpy < 2")
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"needs the package {package}")


EACH = [pytest.param(name, marks=needs(name)) for name in RUNTIMES]
each_runtime = pytest.mark.parametrize("runtime", EACH)

NETS = ["ad01/ad01_int8", "ad01/ad01_int8_floatio", "ad01/ad01_dynrange", "ad01/ad01_fp32", "kws/kws_ref_model_int8", "ic/resnet_ic_int8"]

# net, golden file, its inputs, its outputs
GOLDENS = [
    ("ad01/ad01_int8", "ad01_golden", "in_int8", "out_int8"),
    ("ad01/ad01_int8_floatio", "ad01_golden", "in_fp32", "out_int8_floatio"),
    ("ad01/ad01_dynrange", "ad01_golden", "in_fp32", "out_dynrange"),
    ("ad01/ad01_fp32", "ad01_golden", "in_fp32", "out_fp32"),
    ("kws/kws_ref_model_int8", "kws_golden", "inputs_int8", "out_int8"),
    ("kws/kws_ref_model_float32", "kws_golden", "inputs_float32", "out_float32"),
    ("ic/resnet_ic_int8", "ic_random_golden", "inputs_int8", "out_resnet_ic_int8"),
    ("har/har_float", "har_golden", "inputs", "out_float"),
]
each_golden = pytest.mark.parametrize(("net", "file", "inputs", "outputs"), GOLDENS, ids=[golden[0].split("/")[1] for golden in GOLDENS])


def golden(assets: Path, net: str, file: str) -> tuple[Path, Any]:
    path = assets / "models" / f"{net}.tflite"
    return path, np.load(path.with_name(f"{file}.npz"))


def windows(engine: Engine, count: int, seed: int = 0) -> Any:
    spread = 40 * engine.input.scale or 3
    return (np.random.default_rng(seed).standard_normal((count, *engine.input.shape)) * spread).astype(np.float32)


class Ticks:
    """A clock that goes on by `steps[i]` at its i-th reading, the last one for ever."""

    def __init__(self, *steps: int) -> None:
        self.steps, self.now = list(steps), 0

    def __call__(self) -> int:
        self.now += self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return self.now


def opened_by(runtime: str, path: Path, cpu_ns: Ticks) -> TfliteEngine:
    build = next(build for build in available() if build.package == RUNTIMES[runtime][0])
    return TfliteEngine(path, importlib.import_module(f"{RUNTIMES[runtime][1]}.interpreter"), build, cpu_ns=cpu_ns)


def child(code: str, *flags: str, **options: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run([sys.executable, *flags, "-c", code], env=env, text=True, timeout=PATIENCE_S, **options)


@each_runtime
@each_golden
def test_without_delegates_a_golden_comes_out_to_the_bit_or_the_last_float(
    runtime: str, assets: Path, net: str, file: str, inputs: str, outputs: str
) -> None:
    path, arrays = golden(assets, net, file)
    engine = open_engine(path, "tflite", prefer=runtime, resolver="builtin")
    got, expected = engine.infer_raw(arrays[inputs]), arrays[f"{outputs}_nodelegate"]

    assert got.dtype == expected.dtype
    if expected.dtype == np.int8:
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@each_runtime
@each_golden
def test_with_xnnpack_a_golden_is_near_on_average(runtime: str, assets: Path, net: str, file: str, inputs: str, outputs: str) -> None:
    """LiteRT's XNNPACK kernels are another arithmetic: a single int8 output of a softmax moves by up to 27 LSB, the mean by one."""
    path, arrays = golden(assets, net, file)
    engine = open_engine(path, "tflite", prefer=runtime)
    got, expected = (array.astype(np.float64) for array in (engine.infer_raw(arrays[inputs]), arrays[f"{outputs}_nodelegate"]))

    off = np.abs(got - expected).mean()
    assert off <= (1.5 if engine.output.dtype == "int8" else 0.004 * np.abs(expected).max())
    if "ad01" not in net:
        assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.97


@each_runtime
def test_floats_in_and_out_are_the_integers_of_the_golden(runtime: str, assets: Path) -> None:
    path, arrays = golden(assets, "kws/kws_ref_model_int8", "kws_golden")
    engine = open_engine(path, "tflite", prefer=runtime, resolver="builtin")
    into, out = engine.input, engine.output
    floats = ((arrays["inputs_int8"].astype(np.float32) - into.zero_point) * np.float32(into.scale)).astype(np.float32)

    got = engine.infer(floats)

    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, (arrays["out_int8_nodelegate"].astype(np.float32) - out.zero_point) * np.float32(out.scale))


@each_runtime
@pytest.mark.parametrize("net", NETS)
def test_many_windows_give_the_bits_of_one_at_a_time(runtime: str, data: Path, net: str) -> None:
    """With a clock by which a batch always pays: batching happens wherever the runtime gives the same bits."""
    engine = opened_by(runtime, data / f"{net}.tflite", Ticks(1000))
    alone = open_engine(data / f"{net}.tflite", "tflite", prefer=runtime, batching=False)
    inputs = windows(engine, 70)
    expected = np.concatenate([alone.infer(inputs[i : i + 1]) for i in range(70)])

    assert alone.batch == 1
    for count in (1, 2, 31, 32, 33, 64, 70):
        np.testing.assert_array_equal(engine.infer(inputs[:count]), expected[:count])


@each_runtime
def test_a_dense_net_is_batched_where_the_clock_says_that_it_pays(runtime: str, data: Path) -> None:
    path = data / "ad01/ad01_int8.tflite"

    assert opened_by(runtime, path, Ticks(1000)).batch == 32
    assert opened_by(runtime, path, Ticks(*[1000] * 40, 32_000)).batch == 1
    assert opened_by(runtime, path, Ticks(800_000)).batch == 8
    assert opened_by(runtime, path, Ticks(50_000_000)).batch == 1


@each_runtime
def test_what_is_given_is_the_callers_own(runtime: str, data: Path) -> None:
    engine = open_engine(data / "ad01/ad01_fp32.tflite", "tflite", prefer=runtime)
    inputs = windows(engine, 2)
    first = engine.infer(inputs[:1])
    before = first.copy()
    engine.infer(inputs[1:])

    np.testing.assert_array_equal(first, before)


@each_runtime
def test_windows_that_are_not_contiguous_count_by_their_values(runtime: str, data: Path) -> None:
    engine = open_engine(data / "ad01/ad01_fp32.tflite", "tflite", prefer=runtime)
    inputs = np.asfortranarray(windows(engine, 5))

    np.testing.assert_array_equal(engine.infer(inputs[::2]), engine.infer(np.ascontiguousarray(inputs[::2])))
    np.testing.assert_array_equal(engine.infer(inputs[:1, ::-1]), engine.infer(np.ascontiguousarray(inputs[:1, ::-1])))


@each_runtime
@pytest.mark.parametrize("net", ["ad01/ad01_fp32", "ad01/ad01_int8"])
def test_nan_in_a_window_is_nan_in_its_outputs_and_in_no_other(runtime: str, data: Path, net: str) -> None:
    engine = open_engine(data / f"{net}.tflite", "tflite", prefer=runtime)
    inputs = windows(engine, 40)
    sound = engine.infer(inputs)
    inputs[7, 3] = np.nan

    got = engine.infer(inputs)

    assert np.isnan(got[7]).any()
    others = np.arange(40) != 7
    np.testing.assert_array_equal(got[others], sound[others])
    assert np.isnan(engine.infer(inputs[7:8])).any()


@each_runtime
def test_values_beyond_the_range_saturate(runtime: str, data: Path) -> None:
    engine = open_engine(data / "ad01/ad01_int8.tflite", "tflite", prefer=runtime)
    huge = np.full((1, 640), 3e38, np.float32)

    assert np.isfinite(engine.infer(huge)).all()
    np.testing.assert_array_equal(engine.infer(huge), engine.infer(np.full((1, 640), np.inf, np.float32)))


@each_runtime
@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((1, 639), np.float32),
        np.zeros((640,), np.float32),
        np.zeros((0, 640), np.float32),
        np.zeros((1, 640, 1), np.float32),
        np.zeros((1, 640), np.float64),
        np.zeros((), np.float32),
    ],
    ids=lambda array: f"{array.dtype.name}{list(array.shape)}",
)
def test_another_shape_or_dtype_is_a_bug_that_names_both(runtime: str, data: Path, inputs: Any) -> None:
    engine = open_engine(data / "ad01/ad01_int8.tflite", "tflite", prefer=runtime)

    with pytest.raises(BugError, match=r"float32 \[n, 640\]") as error:
        engine.infer(inputs)
    assert error.value.code == "engine-misused"
    with pytest.raises(BugError, match=r"int8 \[n, 640\]"):
        engine.infer_raw(inputs)


@each_runtime
def test_a_closed_engine_lets_the_file_go_and_says_that_it_is_closed(runtime: str, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "closing.tflite"
    path.write_bytes((data / "ad01/ad01_int8.tflite").read_bytes())
    engine = open_engine(path, "tflite", prefer=runtime)
    inputs = windows(engine, 1)
    assert str(path) in Path("/proc/self/maps").read_text()

    engine.close()

    assert str(path) not in Path("/proc/self/maps").read_text()
    with pytest.raises(BugError, match="closed"):
        engine.infer(inputs)
    with pytest.raises(BugError, match="closed"):
        engine.infer_raw(inputs.astype(np.int8))


@each_runtime
@pytest.mark.parametrize("resolver", ["xnnpack", "builtin"])
def test_an_engine_says_what_it_is_and_what_it_takes(runtime: str, data: Path, resolver: str) -> None:
    engine = open_engine(data / "kws/kws_ref_model_int8.tflite", "tflite", prefer=runtime, resolver=resolver)

    assert (engine.build.engine, engine.build.package, engine.build.resolver) == ("tflite", RUNTIMES[runtime][0], resolver)
    assert engine.build.version[0].isdigit()
    assert (engine.input.shape, engine.input.dtype, engine.input.zero_point, engine.input.batchable) == ((49, 10, 1), "int8", 83, True)
    assert (engine.output.shape, engine.output.dtype, engine.output.scale) == ((12,), "int8", 1 / 256)
    assert engine.input.scale == pytest.approx(0.584702909)
    assert not engine.stateful


@each_runtime
def test_a_graph_with_an_unknown_operation_is_the_publishers_to_mend(runtime: str, data: Path) -> None:
    with pytest.raises(PublisherError, match="SignalWindow") as error:
        open_engine(data / "broken/audio_preprocessor_int8.tflite", "tflite", prefer=runtime)
    assert error.value.code == "model-not-loadable"


@each_runtime
@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\0\0\0TFL", b"\x1c\0\0\0TFL2" + bytes(64), b"GGUF" + bytes(64)])
def test_what_is_no_tflite_file_never_reaches_the_interpreter(runtime: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)

    with pytest.raises(PublisherError, match="not a TFLite model") as error:
        open_engine(path, "tflite", prefer=runtime)
    assert error.value.code == "model-not-loadable"


@each_runtime
def test_folders_pipes_devices_and_giants_are_refused(runtime: str, tmp_path: Path, data: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    giant = tmp_path / "giant"
    giant.write_bytes((data / "kws/kws_ref_model_int8.tflite").read_bytes())
    os.truncate(giant, 2**31)  # sparse

    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), giant):
        with pytest.raises(PublisherError) as error:
            open_engine(path, "tflite", prefer=runtime)
        assert error.value.code == "model-not-loadable"


@each_runtime
def test_a_missing_file_is_the_boards_lack(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(BoardError) as error:
        open_engine(tmp_path / "none.tflite", "tflite", prefer=runtime)
    assert error.value.code == "model-file-missing"


@needs("litert")
def test_litert_refuses_a_file_cut_anywhere(data: Path, tmp_path: Path) -> None:
    """In a child with bounded memory. tflite-runtime does not verify, and dies: callers check the structure before they open."""
    code = f"""
import resource
from pathlib import Path
from edged.engines.choose import open_engine
from edged.errors import EdgedError
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
whole, path = Path({str(data / "kws/kws_ref_model_int8.tflite")!r}).read_bytes(), Path({str(tmp_path / "cut.tflite")!r})
for tenth in range(1, 10):
    path.write_bytes(whole[: len(whole) * tenth // 10])
    try:
        open_engine(path, "tflite", prefer="litert")
    except EdgedError as error:
        print(error.code)
"""
    done = child(code, stdout=subprocess.PIPE)

    assert done.stdout.split() == ["model-not-loadable"] * 9


def test_an_engine_of_a_later_version_is_named_as_missing(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="nothing") as error:
        open_engine(tmp_path / "model", "nothing")
    assert error.value.code == "engine-missing"


def test_naming_the_runtimes_imports_none_of_them() -> None:
    code = "import sys; from edged.engines.choose import available; print(len(available()), {'numpy', *%r} & set(sys.modules))"
    done = child(code % [module for _, module in RUNTIMES.values()], stdout=subprocess.PIPE, check=True)

    assert done.stdout.strip() == f"{len(available())} set()"


def test_without_any_runtime_the_error_says_what_to_install() -> None:
    code = f"""
import sys; sys.path.insert(0, {str(REPO)!r})
from pathlib import Path
from edged.engines.choose import available, open_engine
from edged.errors import BoardError
try:
    open_engine(Path("model.tflite"), "tflite")
except BoardError as error:
    print(available(), error.code, error.hint)
"""
    done = child(code, "-I", "-S", stdout=subprocess.PIPE, check=True)

    assert done.stdout.strip() == "[] engine-missing `pip install ai-edge-litert` or `pip install tflite-runtime`"


@needs("tflite-runtime")
def test_a_runtime_that_does_not_load_leaves_the_work_to_the_next(data: Path, tmp_path: Path) -> None:
    """Such as a wheel built for another libc."""
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert/__init__.py").write_text("raise ImportError('GLIBC_2.99 not found')")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from edged.engines.choose import open_engine
from edged.errors import BoardError
path = Path({str(data / "kws/kws_ref_model_int8.tflite")!r})
print(open_engine(path, "tflite").build.package)
try:
    open_engine(path, "tflite", prefer="litert")
except BoardError as error:
    print(error.code, error.text)
"""
    done = child(code, stdout=subprocess.PIPE, check=True)

    assert done.stdout.splitlines() == [
        "tflite-runtime",
        "engine-missing nothing here runs tflite models: ai-edge-litert does not load: GLIBC_2.99 not found",
    ]


@pytest.mark.skipif(not TOO_NEW, reason="needs tflite-runtime beside numpy >= 2, where it does not work")
def test_a_runtime_that_does_not_go_with_this_numpy_is_the_boards_lack(data: Path) -> None:
    with pytest.raises(BoardError, match="numpy") as error:
        open_engine(data / "ad01/ad01_int8.tflite", "tflite", prefer="tflite-runtime")
    assert error.value.code == "engine-missing"


@each_runtime
def test_the_runtime_keeps_its_greetings_to_itself_on_a_terminal_and_in_a_log(runtime: str, data: Path) -> None:
    code = f"""
import os
from pathlib import Path
from edged.engines.choose import open_engine
from edged.engines.chatter import hushed
with hushed("a test"):
    os.write(2, b"INFO: not for a person\\nWARNING: for a person\\n")
open_engine(Path({str(data / "ad01/ad01_fp32.tflite")!r}), "tflite", prefer={runtime!r})
os.write(2, b"the end\\n")
"""
    terminal, end = pty.openpty()
    try:
        child(code, stderr=end, check=True)
        shown = os.read(terminal, 10_000)
    finally:
        os.close(end)
        os.close(terminal)

    assert shown.splitlines() == [b"WARNING: for a person", b"the end"]
    assert "INFO:" not in child(code, stderr=subprocess.PIPE, check=True).stderr
