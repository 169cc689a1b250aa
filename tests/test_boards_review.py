"""What a person at a board meets: a model that is missing, a narrow terminal, a busy board, a card that moved, files of any kind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from edged.board.calibration import FILE, Calibration, Circumstances, load, outdated, save
from edged.board.inforce import board_here, board_of, circumstances
from edged.board.rates import START_MIB, rates_of
from edged.board.sensors import Felt, Sensors
from edged.board.tree import Tree
from edged.calibrate import bandwidth, run
from edged.calibrate.assemble import rates_from
from edged.calibrate.ceilings import macs_per_ns
from edged.calibrate.child import Measured
from edged.calibrate.graphs import FIRST, Net, lay_out
from edged.calibrate.neighbours import Neighbours, disturbances
from edged.calibrate.runtimes import measure
from edged.cli.board.facts import render
from edged.cli.board.outlook import lines
from edged.cli.columns import Cell, Column, table, wide
from edged.cli.main import cli, main
from edged.clock import VirtualClock
from edged.engines.choose import RUNTIMES, available
from edged.errors import BoardError, OperatorError
from edged.select.forecast import Forecast, PipelineForecast
from edged.select.simulate import Ran
from edged.service.predictions import graphs_in
from tests.conftest import REPO
from tests.daemon import HAR, pipeline
from tests.waiting import PATIENCE_S, until

BOARDS = REPO / "tests" / "data" / "boards"
BROKEN = REPO / "tests" / "data" / "broken" / "audio_preprocessor_int8.tflite"
QUIET = Felt(available_mib=None, temperature_c=None, throttled=None, clock_ratio=None, stalled_pct=None)
NO_RUNTIME = "needs a runtime: pip install ai-edge-litert"


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> list[Net]:
    return lay_out(tmp_path_factory.mktemp("nets"))


@pytest.fixture
def stored() -> Calibration:
    return Calibration(
        at="2026-01-31T12:00:00Z",
        circumstances=Circumstances(kernel="6.12.1", firmware="", governor="ondemand", cpus=4),
        bandwidth_gbs={1: 9.5},
        write_iops=700.0,
        rates={"ai-edge-litert 2.3.0": rates_of(board_of("raspberry-pi-5-8gb").profile)},
    )


# A model that is not installed.


@pytest.fixture
def one_missing(tmp_path: Path) -> Path:
    given = pipeline("here", '{ type = "stdin" }', outputs='[{ type = "stdout" }]', model=HAR)
    source = f'{{ type = "file", path = "{tmp_path}/readings" }}'
    missing = pipeline("gone", source, outputs='[{ type = "stdout" }]', model=HAR).replace(f'model_dir = "{HAR}"', 'model = "pump-anomaly"')
    path = tmp_path / "edged.toml"
    (tmp_path / "readings").touch()
    path.write_text(f'[device]\nstate_dir = "{tmp_path}/state"\n' + given + missing)
    return path


def why(*args: str) -> Result:
    return CliRunner().invoke(cli, ["why", *args])


def test_why_answers_for_the_rest_where_one_model_is_missing(one_missing: Path) -> None:
    done = why("--config", str(one_missing), "--board", "raspberry-pi-4b-1gb")
    assert done.exit_code == 7
    assert "chosen" in done.stdout
    assert "✗ there is no model `pump-anomaly`" in done.stdout
    assert "edged models install" in done.stdout
    shown = json.loads(why("--config", str(one_missing), "--board", "raspberry-pi-4b-1gb", "--json").stdout)
    assert shown["refusals"]["gone"]["code"] == "no-such-model"


def test_why_of_the_pipeline_that_is_there_is_not_disturbed_by_the_other(one_missing: Path) -> None:
    assert why("here", "--config", str(one_missing), "--board", "raspberry-pi-4b-1gb").exit_code == 0


def test_why_of_the_pipeline_whose_model_is_missing_says_that(one_missing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "gone", "--config", str(one_missing), "--board", "raspberry-pi-4b-1gb"]) == 3
    assert "[no-such-model]" in capsys.readouterr().err


# What is stored of a calibration.


def test_a_card_that_comes_to_another_board_is_measured_again(tmp_path: Path) -> None:
    there, here = (board_here(BOARDS / name).detected for name in ("raspberry-pi-3b-plus", "raspberry-pi-zero-2w"))
    assert there
    assert here
    alike = {name: getattr(there, name) for name in ("kernel", "firmware", "governor", "power_mode", "cores")}
    moved = circumstances(type(here)(**{**vars(here), **alike}))
    rates = {"x 1": rates_of(board_of("raspberry-pi-3b-plus").profile)}
    before = Calibration(at="", circumstances=circumstances(there), bandwidth_gbs={1: 1.0}, write_iops=None, rates=rates)
    assert outdated(before, circumstances(there)) == []
    [changed] = outdated(before, moved)
    assert changed.startswith("board was Raspberry Pi 3 Model B Plus")


def test_a_pipe_in_place_of_the_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    assert load(tmp_path) is None


def test_rates_without_the_type_that_stands_in_for_all_are_not_believed(tmp_path: Path, stored: Calibration) -> None:
    save(tmp_path, stored)
    content = json.loads((tmp_path / FILE).read_bytes())
    del content["rates"]["ai-edge-litert 2.3.0"]["gmacs"]["float32"]
    (tmp_path / FILE).write_text(json.dumps(content))
    assert load(tmp_path) is None


def test_a_bandwidth_of_no_threads_is_not_believed(tmp_path: Path, stored: Calibration) -> None:
    save(tmp_path, msgspec.structs.replace(stored, bandwidth_gbs={0: 5.0, 1: 5.0}))
    assert load(tmp_path) is None


def test_what_is_stored_of_a_board_with_long_names_is_read_again(tmp_path: Path, stored: Calibration) -> None:
    detected = board_here(BOARDS / "raspberry-pi-5-8gb").detected
    assert detected
    long = type(detected)(**{**vars(detected), "name": "n" * 240, "governor": "g" * 120, "power_mode": "p" * 120})
    save(tmp_path, msgspec.structs.replace(stored, circumstances=circumstances(long)))
    kept = load(tmp_path)
    assert kept is not None
    assert outdated(kept, circumstances(long)) == []


# Measuring.


def never(*_: object) -> None:
    raise AssertionError("it was measured though the result could not be kept")


def test_a_folder_that_takes_nothing_is_said_before_ten_seconds_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(run, "bandwidth_gbs", never)
    with pytest.raises(BoardError) as caught:
        run.calibrate(board_here(), tmp_path / "file" / "state", VirtualClock(0), never)
    assert caught.value.code == "calibration-not-stored"


def test_the_state_folder_is_made_where_nothing_ran_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "available", list)
    monkeypatch.setattr(bandwidth, "_TURNS", 1)
    found = run.calibrate(board_here(), tmp_path / "state" / "edged", VirtualClock(0), lambda _: None).calibration
    assert load(tmp_path / "state" / "edged") == found


@pytest.mark.skipif(not available(), reason=NO_RUNTIME)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_calibration_that_is_ended_leaves_nothing_behind(one_missing: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "edged.cli.main", "board", "calibrate", "--config", str(one_missing)]
    child = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(REPO), "TMPDIR": str(temporary)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        until(lambda: any(temporary.glob("edged-calibrate-*/*")), "it measures runtimes")
        child.send_signal(number)
        out, err = child.communicate(timeout=PATIENCE_S)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, out) == (code, b"")
    assert b"Traceback" not in err
    assert not [*temporary.iterdir()]
    assert not (tmp_path / "state" / FILE).exists()


@pytest.mark.skipif(not available(), reason=NO_RUNTIME)
def test_a_board_whose_time_is_over_measures_the_first_net_and_no_more(nets: list[Net]) -> None:
    runtime = next(name for name, (package, _) in RUNTIMES.items() if package == available()[0].package)
    paths = [net.path for net in run._mixed(nets)]
    for what in ("forked", "time"):
        assert [path.name for path in measure(runtime, what, -1.0, paths, least=1)] == [FIRST]


def test_the_first_nets_are_one_of_each_type_and_class(nets: list[Net]) -> None:
    kinds = {(net.kind, net.what) for net in nets}
    mixed = run._mixed(nets)
    assert mixed[0].path.name == FIRST
    assert {(net.kind, net.what) for net in mixed[: len(kinds)]} == kinds
    assert sorted(net.path for net in mixed) == sorted(net.path for net in nets)


def test_memory_of_a_type_that_there_was_no_time_for_is_as_before_a_calibration(nets: list[Net]) -> None:
    timed = {net.path.name: Measured(net.path.name, us=10.0 + net.costs.macs_total / 5000, bare_us=9.0) for net in nets}
    loaded = {FIRST: Measured(FIRST, mib=9.0)}
    rates = rates_from(nets, timed, loaded, {"float32": 1e9, "int8": 1e9, "hybrid": 1e9}, 1.0)
    assert rates is not None
    assert all(each.mib == START_MIB for each in rates.gmacs.values())


def test_bandwidth_of_a_slow_board_is_measured_in_fewer_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now, turns = 0, 0

    def turn() -> int:
        nonlocal now, turns
        now, turns = now + 200_000_000, turns + 1
        return 200_000_000

    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    assert bandwidth._least(turn) == 200_000_000
    assert turns == 2


def test_a_generic_arm_core_may_be_as_wide_as_any_that_is_sold() -> None:
    # Four units of 128 bits at 4.4 GHz, of a laptop without a profile; it does not say its clock rate.
    board = board_here(BOARDS / "beaglebone-ai-64")
    assert board.profile.match.generic
    assert macs_per_ns(board, Tree(Path("/nowhere")))["float32"] >= 4 * 4 * 4.4


@pytest.mark.skipif(not available(), reason=NO_RUNTIME)
def test_what_there_is_always_time_for_is_enough_for_rates(nets: list[Net]) -> None:
    runtime = next(name for name, (package, _) in RUNTIMES.items() if package == available()[0].package)
    rates = run._rates(runtime, nets, -1.0, {"float32": 1e9, "int8": 1e9, "hybrid": 1e9}, 1.0, lambda _: None)
    assert rates is not None
    assert {*rates.gmacs} == {"float32", "int8", "hybrid"}


# Neighbours.


def stat(root: Path, user: int, steal: int = 0) -> None:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "stat").write_text(f"cpu  {user} 0 0 9000000 500 0 0 {steal} 0 0\ncpu0 1 2 3\n")


def test_what_others_took_is_counted_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(os, "times", lambda: os.times_result((0.0,) * 5))
    stat(tmp_path, 1_000_000)
    neighbours = Neighbours(Tree(tmp_path))
    now += 10.0
    stat(tmp_path, 1_000_000 + 10 * os.sysconf("SC_CLK_TCK"), steal=5 * os.sysconf("SC_CLK_TCK"))
    assert neighbours.cores() == pytest.approx(1.5)
    assert [*disturbances(neighbours.cores(), 4, QUIET, QUIET)] == ["other programs used 1.5 of 4 cores"]


@pytest.mark.parametrize("content", ["", "cpu\n", "cpu 1 2 3\n", "cpu  a b c d e f g h\n", "cpu " + "9" * 500 + " 1" * 9])
def test_a_kernel_that_does_not_say_is_quiet(tmp_path: Path, content: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "stat").write_text(content)
    assert Neighbours(Tree(tmp_path)).cores() == 0.0


def test_a_processor_that_was_slowed_down_is_said() -> None:
    hot = Felt(available_mib=None, temperature_c=84.0, throttled=0x4, clock_ratio=None, stalled_pct=None)
    assert [*disturbances(0.0, 4, QUIET, hot)] == ["the firmware slowed the processor down, for heat or for lack of voltage"]
    assert not [*disturbances(0.1, 4, QUIET, QUIET)]


# What is typed and read.


@pytest.mark.parametrize("width", [40, 60, 80])
def test_show_has_every_value_and_every_file_whole_on_a_narrow_terminal(width: int) -> None:
    root = BOARDS / "jetson-orin-nano-8gb-super"
    board = board_here(root)
    assert board.detected
    text = render(board, Sensors(root, lambda _: None).read(), width, colour=False)
    assert max(wide(line) for line in text.splitlines()) <= width
    assert "7,619 MiB" in text
    assert "…" not in text
    assert "20.2 GB/s" in text


def test_show_says_that_a_calibration_was_disturbed(stored: Calibration) -> None:
    disturbed = msgspec.structs.replace(stored, disturbed=["other programs used 1.5 of 4 cores"])
    board = type(board_here())(board_of("raspberry-pi-5-8gb").profile, None, disturbed)
    assert "Meanwhile other programs used 1.5 of 4 cores" in render(board, QUIET, 100, colour=False).replace("\n", " ")


def test_drops_are_predicted_with_their_reason_on_any_terminal() -> None:
    ran = Ran(
        pipeline="pump", worker=0, messages=1000, results=90, dropped={"queue-full": 400}, late=7,
        p50_ms=1.0, p95_ms=2.0, p99_ms=3.0, waiting=2, most_waiting=4,
    )  # fmt: skip
    told = PipelineForecast(
        pipeline="pump", model="m", release=1, deadline_ms=2.0, windows_per_s=1.0, variant="a", ms=1.0, mib=2.0, ran=ran
    )
    shown = Forecast(board="b", seconds=60, seed=1, busy=[0.9], memory_mib=1, budget_mib=2, pipelines=[told])
    for width in (40, 120):
        text = " ".join(" ".join(lines(shown, width, colour=False)).split())
        assert "dropped 400 of 1,000 messages, queue-full" in text
        assert "7 of 90 results later than 2 ms" in text


def test_a_table_without_rows_has_its_titles() -> None:
    assert table([Column("A"), Column("B")], [], 40, False) == ["A  B"]
    assert table([Column("A")], [[Cell("x")]], 40, False) == ["A", "x"]


def test_predictions_take_files_and_nothing_that_keeps_them_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "away.tflite").symlink_to(tmp_path / "nowhere")
    for places in ([tmp_path], [tmp_path / "pipe.tflite"]):
        with pytest.raises(OperatorError, match=r"no \.tflite file") as caught:
            graphs_in(places)
        assert caught.value.code == "no-models"
    (tmp_path / "net.tflite").write_bytes(b"x")
    assert graphs_in([tmp_path]) == [tmp_path / "net.tflite"]


@pytest.mark.skipif(not available(), reason=NO_RUNTIME)
def test_bench_measures_the_other_models_where_one_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from shutil import copyfile, copytree

    from edged.models.manifest import load_release

    good = REPO / "edged" / "demo" / "har"
    bad = copytree(good, tmp_path / "bad")
    copyfile(BROKEN, load_release(bad).path_of(load_release(bad).manifest.variants[0]))
    assert main(["bench", "--seconds", "0.1", "--json", "--model-dir", str(bad), "--model-dir", str(good)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["variants"]) == len(shown["paths"]) == 1
    assert set(shown["failed"]) == {"har 1 fp32", "the path of har"}


def test_a_wrong_board_is_not_told_a_name_that_is_none_either() -> None:
    with pytest.raises(OperatorError) as caught:
        board_of("auto")
    assert "auto," not in caught.value.hint
    assert "raspberry-pi-5-8gb" in caught.value.hint
