"""A candidate release in its child process: sound ones are measured, hostile ones are ended, each with its own code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edged.clock import SystemClock
from edged.engines.choose import RUNTIMES
from edged.errors import EdgedError, PublisherError
from edged.fleet.trial import Limits, Measured, Predicted, TrialReport, TrialRequest, run_trial
from edged.models.manifest import load_release
from tests import hostile
from tests.daemon import HAR
from tests.descriptors import descriptors
from tests.releases import changed
from tests.waiting import PATIENCE_S

pytest.importorskip("flatbuffers", reason="writes graphs: pip install tflite")

RUNTIME = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(module) is None, reason=f"needs {package}: pip install {package}"))
    for name, (package, module) in RUNTIMES.items()
]
# A trial yields to all other work: where the tests share a busy machine, it takes long, and may be told that it starved.
WALL_S = 5 * PATIENCE_S
LIMITS = Limits(memory_mib=256, cpu_s=60, wall_s=WALL_S)
BRIEF = Limits(memory_mib=256, cpu_s=60, wall_s=3.0)  # for what never ends by itself
HUNG = ("trial-hung", "trial-starved")


def never() -> bool:
    return False


def request(folder: Path, **more: object) -> TrialRequest:
    release = load_release(folder)
    manifest = release.manifest
    table = {
        "name": manifest.name, "release": manifest.release, "manifest": str(folder / "model.toml"),
        "files": {name: str(path) for name, path in release.files.items()}, "variants": [variant.name for variant in manifest.variants],
    }  # fmt: skip
    return msgspec.convert({**table, **more}, TrialRequest)


def tried(folder: Path, limits: Limits = LIMITS, **more: object) -> TrialReport:
    return run_trial(request(folder, **more), limits, never, SystemClock())


def refused(folder: Path, limits: Limits = LIMITS, **more: object) -> EdgedError:
    with pytest.raises(EdgedError) as caught:
        tried(folder, limits, **more)
    return caught.value


def processes() -> Iterator[tuple[int, int, int]]:
    """Give number, parent and niceness of every process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            yield int(path.parent.name), int(fields[1]), int(fields[16])


def children() -> set[int]:
    """Give the processes that this one started and did not reap."""
    return {pid for pid, parent, _ in processes() if parent == os.getpid()}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Hold every trial here to leaving no process and no open file."""
    before, files = children(), descriptors()
    yield
    assert children() <= before
    assert not descriptors() - files


@pytest.mark.parametrize("runtime", RUNTIME)
def test_a_sound_release_is_measured_and_compared(runtime: str) -> None:
    running = Measured(p50_ms=1e-9, p95_ms=1.0, windows=100)
    name = load_release(HAR).manifest.variants[0].name
    report = tried(HAR, runtimes=[runtime], deadline_ms=1e6, predicted={name: Predicted(ms=1e-9, mib=1e-6)}, running=running)
    assert (report.variant, report.goldens, report.passed_over) == (name, 15, {})
    assert report.engine.startswith(RUNTIMES[runtime][0])
    assert 0 < report.p50_ms <= report.p95_ms
    assert report.load_ms > 0
    assert 1 <= report.windows <= 400
    # A bad comparison is told and rejects nothing: a release may be worth its price.
    assert report.p50_ratio is not None
    assert report.p50_ratio > 1
    assert report.pss_ratio is not None
    assert report.pss_ratio > 1
    assert report.predicted_ratio is not None
    assert report.predicted_ratio > 1


def test_what_the_board_knows_nothing_of_is_not_compared(tmp_path: Path) -> None:
    report = tried(hostile.release(tmp_path / "r", v=hostile.sound()))
    assert (report.deadline_ms, report.predicted_mib, report.pss_ratio, report.running_p50_ms, report.p50_ratio) == (None,) * 5


def test_a_release_that_keeps_state_is_tried_as_a_stream_of_it_would_run(tmp_path: Path) -> None:
    folder = hostile.with_goldens(hostile.release(tmp_path / "r", v=hostile.sound(2.0)), ones(3), 2 * ones(3))
    report = tried(changed(folder, tmp_path / "stateful", ("samples = 1", "samples = 1\nstateful = true")))
    assert (report.goldens, report.windows > 0) == (3, True)


def test_files_may_lie_elsewhere_under_other_names(tmp_path: Path) -> None:
    folder = hostile.release(tmp_path / "r", v=hostile.sound())
    (folder / "v.tflite").rename(tmp_path / "0123abcd")
    moved = TrialRequest(
        name="hostile", release=1, manifest=str(folder / "model.toml"), files={"v.tflite": str(tmp_path / "0123abcd")}, variants=["v"]
    )
    assert run_trial(moved, LIMITS, never, SystemClock()).variant == "v"


@pytest.mark.parametrize("runtime", RUNTIME)
def test_a_graph_that_never_ends_is_ended(runtime: str, tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", v=hostile.endless()), BRIEF, runtimes=[runtime])
    assert error.code in HUNG, error.text
    assert "hostile 1" in error.text


@pytest.mark.alone  # the child has the lowest priority, and its own time on the processor is what is counted
@pytest.mark.parametrize("runtime", RUNTIME)
def test_a_graph_that_takes_the_processor_for_itself_is_ended(runtime: str, tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", v=hostile.endless()), Limits(256, 1, WALL_S), runtimes=[runtime])
    assert (type(error), error.code) == (PublisherError, "trial-cpu")


@pytest.mark.parametrize("runtime", RUNTIME)
@pytest.mark.parametrize("graph", [hostile.hungry, hostile.creeping], ids=["in one piece", "in small pieces"])
def test_a_graph_that_eats_memory_while_it_runs_is_ended(graph: Callable[[], bytes], runtime: str, tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", v=graph()), runtimes=[runtime])
    assert (type(error), error.code) == (PublisherError, "trial-memory")
    assert "256 MiB" in error.text


@pytest.mark.parametrize("runtime", RUNTIME)
def test_a_graph_of_the_same_kind_that_is_modest_is_not_refused(runtime: str, tmp_path: Path) -> None:
    assert tried(hostile.release(tmp_path / "r", v=hostile.creeping(mib=1, times=3)), runtimes=[runtime]).variant == "v"


@pytest.mark.parametrize("runtime", RUNTIME)
def test_a_graph_that_crashes_the_runtime_crashes_the_child_only(runtime: str, tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", v=hostile.bottomless()), runtimes=[runtime])
    assert (type(error), error.code) == (PublisherError, "trial-crashed")
    assert f"SIGSEGV while opening v with {runtime}" in error.text


def test_a_graph_that_crashes_every_runtime_is_refused_after_the_last(tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", v=hostile.bottomless()))
    assert error.code == "trial-crashed"


@pytest.mark.skipif(find_spec("tflite_runtime") is None, reason="needs tflite-runtime: pip install tflite-runtime")
def test_a_graph_that_crashes_while_it_runs_is_refused_and_no_other_runtime_is_asked(tmp_path: Path) -> None:
    # The daemon, too, opens a model before it trusts a runtime with it, and does not run it.
    folder = hostile.release(tmp_path / "r", v=hostile.out_of_bounds())
    error = refused(folder, runtimes=["tflite-runtime", "litert"])
    assert (error.code, "SIGSEGV while loading v" in error.text) == ("trial-crashed", True), error.text


@pytest.mark.parametrize("runtime", RUNTIME)
def test_a_graph_that_gives_no_numbers_is_refused(runtime: str, tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", v=hostile.not_a_number()), runtimes=[runtime])
    assert (type(error), error.code) == (PublisherError, "model-nan")


def test_a_graph_that_gives_no_numbers_for_its_goldens_is_refused_by_them(tmp_path: Path) -> None:
    folder = hostile.with_goldens(hostile.release(tmp_path / "r", v=hostile.not_a_number()), ones(3), ones(3))
    error = refused(folder)
    assert (error.code, "golden 0" in error.text) == ("model-nan", True), error.text


def test_a_graph_that_misses_its_deadline_is_refused(tmp_path: Path) -> None:
    folder = hostile.release(tmp_path / "r", v=hostile.slow())
    error = refused(folder, deadline_ms=0.001)
    assert (type(error), error.code) == (PublisherError, "too-slow")
    assert "deadline is 0.001 ms" in error.text
    assert tried(folder, deadline_ms=60_000.0).p95_ms > 0.001


def test_a_graph_that_misses_its_goldens_is_refused(tmp_path: Path) -> None:
    folder = hostile.with_goldens(hostile.release(tmp_path / "r", v=hostile.sound(2.0)), ones(3), 3 * ones(3))
    error = refused(folder)
    assert (type(error), error.code) == (PublisherError, "golden-differs")
    assert "differs by 1" in error.text


def test_goldens_that_are_met_are_counted(tmp_path: Path) -> None:
    folder = hostile.with_goldens(hostile.release(tmp_path / "r", v=hostile.sound(2.0)), ones(3), 2 * ones(3))
    assert tried(folder).goldens == 3


def test_goldens_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = hostile.with_goldens(hostile.release(tmp_path / "r", v=hostile.sound()), np.ones((2, 7), np.float32), ones(2))
    error = refused(folder)
    assert (type(error), error.code) == (PublisherError, "golden-mismatch")


def test_goldens_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    folder = hostile.with_goldens(hostile.release(tmp_path / "r", v=hostile.sound()), ones(2), ones(2))
    (folder / "golden.npz").write_bytes(b"PK\x03\x04" + bytes(1000))
    assert refused(folder).code == "npz-malformed"


def test_tensors_that_do_not_fit_the_preprocessing_are_refused(tmp_path: Path) -> None:
    sound = hostile.release(tmp_path / "r", v=hostile.sound())
    error = refused(changed(sound, tmp_path / "wide", ("samples = 1", "samples = 2")))
    assert (type(error), error.code) == (PublisherError, "tensors-do-not-fit")
    assert "[8]" in error.text


def test_labels_that_do_not_fit_the_output_are_refused(tmp_path: Path) -> None:
    folder = changed(
        hostile.release(tmp_path / "r", v=hostile.sound()), tmp_path / "labelled",
        ('"regress"', '"classify"'), ("[[variants]]", '[output]\nlabels = ["a", "b"]\n[[variants]]'),
    )  # fmt: skip
    error = refused(folder)
    assert (error.code, "2 labels" in error.text) == ("tensors-do-not-fit", True), error.text


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", v=b"\x1c\0\0\0TFL3" + bytes(200)))
    assert (type(error), error.code) == (PublisherError, "model-not-loadable")


@pytest.mark.parametrize("runtime", RUNTIME)
def test_a_variant_that_does_not_load_gives_way_to_the_next(runtime: str, tmp_path: Path) -> None:
    folder = hostile.release(tmp_path / "r", first=hostile.unloadable(), torn=hostile.sound()[:200], last=hostile.sound())
    report = tried(folder, runtimes=[runtime])
    assert report.variant == "last"
    assert {name: text.split(":")[0] for name, text in report.passed_over.items()} == dict.fromkeys(("first", "torn"), "model-not-loadable")


def test_where_no_variant_loads_the_first_one_says_why(tmp_path: Path) -> None:
    error = refused(hostile.release(tmp_path / "r", first=hostile.unloadable(), second=hostile.unloadable()))
    assert (error.code, "first.tflite" in error.text) == ("model-not-loadable", True), error.text


def test_a_variant_that_crashes_does_not_give_way_to_the_next(tmp_path: Path) -> None:
    assert refused(hostile.release(tmp_path / "r", bad=hostile.bottomless(), good=hostile.sound())).code == "trial-crashed"


def test_a_manifest_with_a_fault_is_refused(tmp_path: Path) -> None:
    folder = hostile.release(tmp_path / "r", v=hostile.sound())
    wanted = request(folder)
    (folder / "model.toml").write_text("name = ]")
    with pytest.raises(PublisherError, match=r"model\.toml"):
        run_trial(wanted, LIMITS, never, SystemClock())


def test_a_release_whose_file_is_gone_is_refused(tmp_path: Path) -> None:
    folder = hostile.release(tmp_path / "r", v=hostile.sound())
    wanted = request(folder)
    (folder / "v.tflite").unlink()
    with pytest.raises(PublisherError) as caught:
        run_trial(wanted, LIMITS, never, SystemClock())
    assert caught.value.code == "model-not-loadable"


def ones(rows: int) -> np.ndarray:
    return np.ones((rows, hostile.VALUES), np.float32)
