"""`edged why` as people and programs use it: the words, the answer for another board, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from edged.cli.main import cli, main
from edged.cli.reasons import render
from edged.errors import EXIT_CONFIG, EXIT_NO_FIT
from edged.select.choose import choose
from edged.select.terms import Limits
from edged.select.why import Answer, answer
from tests.choices import demand, option
from tests.conftest import REPO
from tests.daemon import HAR, Daemon, edged, pipeline
from tests.releases import changed

AD01 = REPO / "tests" / "data" / "ad01"
ZERO = ("--board", "raspberry-pi-zero-2w")
STDOUT = '[{ type = "stdout" }]'
STDIN = '{ type = "stdin" }'


def why(*args: str) -> Result:
    return CliRunner().invoke(cli, ["why", *args])


def made() -> Answer:
    limits = Limits(memory_mib=100, workers=1)
    pumps = demand("pump", option("large", 0.9, 31, 60), option("small", 0.8, 4, 10), deadline_ms=20.0)
    fan = demand("fan", option("big", 0.9, 5, 95, measured=True, measured_mib=True, predicted_ms=4.0), option("tiny", 0.7, 1, 5))
    given = [pumps, fan]
    return answer("a-board", given, limits, choose(given, limits))


def test_each_pipeline_shows_its_variants_the_chosen_one_first_and_what_all_take() -> None:
    lines = render(made(), 100, False).splitlines()
    assert lines[0] == "pump: model-pump release 1, 10 windows a second"
    assert [line.split()[0] for line in lines[1:4]] == ["VARIANT", "small", "large"]
    assert lines[2].endswith("  chosen")
    assert lines[3].endswith("  deadline: 31 ms, 20 allowed")
    assert "memory: needs 95 MiB, 90 left after pump" in "\n".join(lines)
    assert lines[-2:] == ["memory     15 of 100 MiB", "processor  0.05 of 0.7 workers, 70% of 1"]


def test_columns_that_would_say_nothing_are_left_out() -> None:
    shown = render(made(), 100, False)
    assert "ENGINE" not in shown
    assert shown.splitlines()[1].split() == ["VARIANT", "QUALITY", "ms", "MEASURED", "MiB", "MEASURED"]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_reason_is_cut_however_narrow_the_terminal(width: int) -> None:
    lines = render(made(), width, False).splitlines()
    assert all(len(line) <= width for line in lines)
    assert "deadline: 31 ms, 20 allowed" in " ".join(" ".join(lines).split())


def test_only_one_pipeline_is_shown_with_what_all_take() -> None:
    shown = render(made(), 100, False, only="fan")
    assert "pump:" not in shown
    assert "memory     15 of 100 MiB" in shown


def test_a_variant_that_runs_though_another_is_chosen_is_said() -> None:
    shown = render(msgspec.structs.replace(made(), running={"pump": "large", "fan": "tiny"}), 100, False)
    assert "pump: model-pump release 1, 10 windows a second, runs large now" in shown
    assert "runs tiny now" not in shown


def test_a_publisher_cannot_steer_the_terminal() -> None:
    nasty = demand("a", option("v", refused="load: \x1b[2J\x1b[31mgone"))
    shown = render(answer("b", [nasty], Limits(memory_mib=1, workers=1), choose([nasty], Limits(memory_mib=1, workers=1))), 80, False)
    assert "\x1b" not in shown


def test_a_fleet_manager_asks_for_a_board_without_any_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = why(*ZERO, "--model-dir", str(AD01), "--model-dir", str(HAR))
    assert result.exit_code == 0, result.output
    assert "toycar: toycar release 1" in result.output
    assert "board      raspberry-pi-zero-2w" in result.output


def test_two_releases_of_one_model_are_both_answered() -> None:
    answered = json.loads(why(*ZERO, "--json", "--model-dir", str(AD01), "--model-dir", str(AD01)).output)
    assert {row["pipeline"] for row in answered["rows"]} == {"toycar", "toycar (2)"}


def test_where_a_pipeline_has_no_variant_the_exit_code_says_so(tmp_path: Path) -> None:
    only_best = ("minimum = 0.8", "minimum = 0.87")
    folder = changed(AD01, tmp_path / "r", only_best)
    (folder / "ad01_fp32.tflite").write_bytes(b"no graph")
    result = why(*ZERO, "--model-dir", str(folder), "--model-dir", str(HAR))
    assert result.exit_code == EXIT_NO_FIT
    assert "nearest is int8: quality: 0.842 is below the minimum 0.87" in " ".join(result.output.split())
    assert why("har", *ZERO, "--model-dir", str(folder), "--model-dir", str(HAR)).exit_code == 0
    answered = json.loads(why("--json", *ZERO, "--model-dir", str(folder)).output)
    assert answered["refusals"]["toycar"]["code"] == "does-not-fit"


def test_a_board_or_a_pipeline_that_is_not_there_names_those_that_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "--board", "raspberry-pi-9", "--model-dir", str(AD01)]) == EXIT_CONFIG
    assert "raspberry-pi-5-8gb" in capfd.readouterr().err
    assert main(["why", "ghost", *ZERO, "--model-dir", str(AD01)]) == EXIT_CONFIG
    assert "one of: toycar" in capfd.readouterr().err


def test_without_a_daemon_the_configuration_is_answered_for_this_board_and_for_others(tmp_path: Path) -> None:
    shake = pipeline("shake", STDIN, outputs=STDOUT)
    toy = pipeline("toy", '{ type = "file", path = "x" }', model=AD01, outputs=STDOUT, more="deadline_ms = 0.001\n")
    daemon = Daemon(tmp_path / "d", shake + toy)
    (daemon.folder / "x").touch()
    for more in ((), ZERO):
        done = edged("why", "--json", *more, "--config", str(daemon.file), cwd=daemon.folder)
        assert done.returncode == EXIT_NO_FIT, done.stderr
        answered = json.loads(done.stdout)
        codes = {(row["pipeline"], row["code"]) for row in answered["rows"]}
        assert codes == {("shake", "chosen"), ("toy", "deadline")}
    assert answered["board"] == "raspberry-pi-zero-2w"


def test_a_running_daemon_is_asked_and_what_it_chose_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = msgspec.to_builtins(msgspec.structs.replace(made(), running={"pump": "small"}))
    monkeypatch.setattr("edged.cli.settings.ask_daemon", lambda op, *_: {"why": told}[op])
    result = why()
    assert result.exit_code == 0
    assert "board      a-board" in result.output


def test_an_answer_of_another_version_is_told_as_such(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("edged.cli.settings.ask_daemon", lambda *_: {"board": "b", "rows": 7})
    assert main(["why"]) == 1
    assert "answer-unreadable" in capfd.readouterr().err
