"""A calibration: prices from measurements, what is stored and believed, ceilings, and runtimes that crash."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.board.calibration import FILE, Calibration, Circumstances, load, outdated, save
from edged.board.inforce import board_here, board_of, circumstances
from edged.board.rates import rates_of
from edged.board.tree import Tree
from edged.calibrate import run
from edged.calibrate.assemble import rates_from
from edged.calibrate.ceilings import check_bandwidth, check_macs, macs_per_ns
from edged.calibrate.child import Measured
from edged.calibrate.fit import fit
from edged.calibrate.graphs import FIRST, Net, lay_out
from edged.calibrate.run import Outcome
from edged.calibrate.runtimes import measure
from edged.cli.main import main
from edged.engines.choose import available
from edged.errors import BoardError
from edged.models.shapes import Shapes
from edged.models.work import memory_terms, time_terms
from edged.select.predict import predict
from tests.conftest import REPO

DATA = REPO / "tests" / "data"
NONE_FORBIDDEN = {"float32": 1e9, "int8": 1e9, "hybrid": 1e9}


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> list[Net]:
    return lay_out(tmp_path_factory.mktemp("nets"))


@pytest.fixture
def stored() -> Calibration:
    at = Circumstances(kernel="6.12.1", firmware="2026-01-01", governor="ondemand", cpus=4, temperature_c=51.5)
    rates = rates_of(board_of("raspberry-pi-5-8gb").profile)
    return Calibration(
        at="2026-01-31T12:00:00Z",
        circumstances=at,
        bandwidth_gbs={1: 9.5, 4: 11.3},
        write_iops=700.0,
        rates={"ai-edge-litert 2.3.0": rates},
    )


# Fitting.


@given(st.lists(st.floats(0, 100), min_size=3, max_size=3), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_prices_are_found_again_and_never_negative(prices: list[float], seed: int) -> None:
    import numpy as np

    amounts = np.random.default_rng(seed).random((12, 3)) * [1, 1000, 1e6]
    rows = [(dict(zip("abc", row.tolist())), float(row @ prices)) for row in amounts]
    found = fit(rows, "abc", beside=1.0)
    assert min(found.values()) >= 0
    for terms, took in rows:
        assert sum(found[name] * terms[name] for name in found) == pytest.approx(took, rel=1e-3, abs=1e-3)


def test_what_only_noise_would_make_negative_is_zero() -> None:
    rows = [({"a": 1.0, "b": 1.0}, 1.0), ({"a": 2.0, "b": 1.0}, 2.2), ({"a": 3.0, "b": 1.0}, 3.4)]  # a line that starts below zero
    assert fit(rows, "ab", beside=0.0)["b"] == 0.0


def test_no_price_is_below_what_a_ceiling_allows() -> None:
    assert fit([({"a": 1.0}, 1.0), ({"a": 2.0}, 2.0)], "a", 0.1, {"a": 3.0})["a"] == 3.0


def test_a_board_with_known_prices_is_found_again(nets: list[Net]) -> None:
    true = rates_of(board_of("raspberry-pi-4b-4gb").profile)
    found = rates_from(nets, timed_by(nets, true), loaded_by(nets, true), NONE_FORBIDDEN, 1.0)
    assert found is not None
    for net in nets:
        wanted, got = predict(net.costs, true, 3.4), predict(net.costs, found, 3.4)
        assert got.ms == pytest.approx(wanted.ms, rel=0.1), net.path.name
        assert got.mib == pytest.approx(wanted.mib, rel=0.15, abs=0.15), net.path.name


def timed_by(nets: list[Net], rates: object) -> dict[str, Measured]:
    bare = msgspec.structs.replace(rates, convert_us=0.0, convert_ns=0.0)  # type: ignore[type-var]
    return {
        net.path.name: Measured(net.path.name, us=predict(net.costs, rates, 3.4).ms * 1000, bare_us=predict(net.costs, bare, 3.4).ms * 1000)  # type: ignore[arg-type]
        for net in nets
    }


def loaded_by(nets: list[Net], rates: object) -> dict[str, Measured]:
    return {
        net.path.name: Measured(net.path.name, mib=predict(net.costs, rates, 3.4).mib)
        for net in nets
        if net.in_memory or net.path.name == FIRST
    }  # type: ignore[arg-type]


# The nets.


def test_each_net_is_of_its_one_class_and_type(nets: list[Net]) -> None:
    for net in nets:
        classes = {name for name in ("dense", "conv", "depthwise") if getattr(net.costs.macs, name)}
        assert classes == {"mixed": {"conv", "depthwise"}, "elements": set()}.get(net.what, {net.what}), net.path.name
        assert net.costs.compute == net.kind
        assert all(value >= 0 for value in (*time_terms(net.costs).values(), *memory_terms(net.costs).values()))


def test_the_script_makes_the_nets_that_ship(nets: list[Net]) -> None:
    pytest.importorskip("tflite", reason="needs the package tflite, the official schema's writer")
    sys.path.insert(0, str(REPO / "scripts"))
    try:
        import calibration_graphs
    finally:
        sys.path.pop(0)
    made = {f"{name}.tflite": net.write() for name, net in calibration_graphs.nets()}
    assert made == {net.path.name: net.path.read_bytes() for net in nets}


def test_shapes_of_a_convolution_are_counted_as_by_hand(nets: list[Net]) -> None:
    net = next(net for net in nets if net.path.stem == "int8.conv-16x16-32k3s2")  # 8×8 places, 3×3, 16 to 32 channels
    places = 64
    wanted = Shapes(
        by_input=places * 9 * 32, by_output=places * 9 * 16, steps=places * 9, places=places, patches=places * 9 * 16,
        converted=16 * 16 * 16 + 8 * 8 * 32, batchable=True,
    )  # fmt: skip
    assert net.costs.shapes == wanted


# What is stored.


def test_a_calibration_is_read_as_it_was_stored(tmp_path: Path, stored: Calibration) -> None:
    save(tmp_path, stored)
    assert load(tmp_path) == stored
    assert stored.bandwidth == 9.5


def hostile(good: bytes) -> Iterator[bytes]:
    yield from (b"", b"null", b"[]", good[:-1], good + b"x", b"\xff" * 10, b"[" * 100_000, b" " * (1 << 19))
    for path, value in (
        ("v", 2),
        ("bandwidth_gbs", {}),
        ("bandwidth_gbs", {"1": -3}),
        ("write_iops", 0),
        ("rates", {"x": {}}),
        ("more", 1),
    ):
        yield json.dumps({**json.loads(good), path: value}).encode()


def test_a_hostile_file_is_not_believed(tmp_path: Path, stored: Calibration) -> None:
    save(tmp_path, stored)
    good = (tmp_path / FILE).read_bytes()
    for data in hostile(good):
        (tmp_path / FILE).write_bytes(data)
        assert load(tmp_path) is None, data[:60]


def test_it_holds_until_kernel_firmware_governor_or_cpus_change(stored: Calibration) -> None:
    then = stored.circumstances
    assert outdated(stored, msgspec.structs.replace(then, temperature_c=20.0)) == []
    now = msgspec.structs.replace(then, kernel="6.12.2", governor="")
    assert outdated(stored, now) == ["kernel was 6.12.1, and is 6.12.2", "governor was ondemand, and is unknown"]


# Ceilings.


def test_more_multiply_adds_than_the_processor_has_are_refused(nets: list[Net]) -> None:
    ceilings = macs_per_ns(board_of("raspberry-pi-4b-4gb"), Tree(Path("/nowhere")))
    net = next(net for net in nets if net.path.stem == "int8.conv-20x64k1x2")
    at_ceiling = net.costs.macs_total / ceilings["int8"] / 1000
    check_macs([net], {net.path.name: Measured("", bare_us=at_ceiling * 1.01)}, ceilings)
    with pytest.raises(BoardError, match="billion multiply-adds") as caught:
        check_macs([net], {net.path.name: Measured("", bare_us=at_ceiling * 0.99)}, ceilings)
    assert caught.value.code == "calibration-impossible"


def test_more_than_the_bus_carries_is_refused() -> None:
    board = board_of("raspberry-pi-4b-4gb")
    check_bandwidth({1: 3.4, 4: 12.7}, board)
    with pytest.raises(BoardError, match="4 threads read 13"):
        check_bandwidth({1: 3.4, 4: 13.0}, board)


# Children.


def test_a_runtime_that_crashes_takes_nothing_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    with pytest.raises(BoardError, match="SIGSEGV") as caught:
        measure("litert", "time", 0, [Path("a.tflite")] * 10_000)
    assert caught.value.code == "runtime-crashed"


@pytest.mark.skipif(not available(), reason="needs a runtime: pip install ai-edge-litert")
def test_a_real_runtime_is_measured(nets: list[Net]) -> None:
    runtime = {"ai-edge-litert": "litert", "tflite-runtime": "tflite-runtime"}[available()[0].package]
    paths = [net.path for net in nets if net.path.name in (FIRST, "int8.conv-20x64k1x2.tflite", "float32.dense-512x2.tflite")]
    paths.sort(key=lambda path: path.name != FIRST)
    timed = measure(runtime, "time", 0.1, paths)
    loaded = measure(runtime, "forked", 0, paths)
    assert [each.error for each in (*timed.values(), *loaded.values())] == [""] * 6
    assert all(each.us >= each.bare_us > 0 for each in timed.values())
    dense = next(path for path in paths if "dense-512" in path.name)
    assert loaded[dense].mib > dense.stat().st_size / (1 << 20)  # the file, and the runtime's own copy of it


# The commands.


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    path = tmp_path / "edged.toml"
    path.write_text(
        'device = { state_dir = "state" }\n[mqtt.main]\nurl = "mqtt://127.0.0.1:1883"\n[[pipelines]]\nname = "a"\nmodel = "a"\n'
        'source = { type = "stdin" }\ndecoder = { type = "json", channels = ["x"] }\n'
    )
    return path


def test_nothing_is_measured_while_the_calibration_holds(config: Path, stored: Calibration, capsys: pytest.CaptureFixture[str]) -> None:
    detected = board_here().detected
    assert detected is not None
    held = msgspec.structs.replace(stored, circumstances=circumstances(detected), tried=[str(build) for build in available()])
    save(config.parent / "state", held)
    before = (config.parent / "state" / FILE).read_bytes()
    assert main(["board", "calibrate", "--if-needed", "--config", str(config)]) == 0
    assert "2026-01-31T12:00:00Z holds" in capsys.readouterr().out
    assert (config.parent / "state" / FILE).read_bytes() == before


def test_it_is_measured_again_where_a_runtime_is_new(config: Path, stored: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    detected = board_here().detected
    assert detected is not None
    save(config.parent / "state", msgspec.structs.replace(stored, circumstances=circumstances(detected), tried=["litert 1"]))
    asked: list[Path] = []

    def measured(_: object, state_dir: Path, *__: object) -> Outcome:
        asked.append(state_dir)
        return Outcome(stored)

    monkeypatch.setattr(run, "calibrate", measured)
    assert main(["board", "calibrate", "--if-needed", "--config", str(config)]) == 0
    assert asked == [config.parent / "state"]


@pytest.mark.skipif(not available(), reason="needs a runtime: pip install ai-edge-litert")
def test_bench_holds_predictions_against_measurements_and_names_what_does_not_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [DATA / "ad01" / "ad01_int8.tflite", DATA / "broken" / "audio_preprocessor_int8.tflite"]
    assert main(["bench", "--predict", "--seconds", "0.1", "--json", "--config", str(config), *map(str, files)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in shown["predictions"]] == [str(files[0])] * len(available())
    assert set(shown["median_error"]) == {"time", "memory"}
    assert len(shown["failed"]) == len(available())
    assert all("SignalWindow" in text for text in shown["failed"].values())
