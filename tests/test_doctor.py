"""The command `edged doctor`: what it shows, its exit codes, its JSON, and that one failing check stops no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edged.board.tree import Tree
from edged.cli import doctor
from edged.cli.columns import wide
from edged.cli.doctor import broken, command, render
from edged.clock import VirtualClock
from edged.doctor import examine
from edged.doctor.examine import Place, Report, checks_of
from edged.doctor.finding import Finding, error, hint, ok, quoted, warning
from edged.errors import EXIT_FAILED, EXIT_UNHEALTHY
from tests.broker import Mosquitto, free_port
from tests.conftest import REPO
from tests.daemon import edged, on_topic, pipeline

if TYPE_CHECKING:
    from tests.fixtures import MakeBroker

pytest_plugins = ["tests.fixtures"]


def configured(folder: Path, port: int, more: str = "") -> Path:
    """Write a configuration whose daemon is not there."""
    config = folder / "edged.toml"
    own = f'[device]\nstate_dir = "{folder / "state"}"\n[control]\nsocket = "{folder / "s"}"\n'
    config.write_text(f'{own}[mqtt.main]\nurl = "mqtt://127.0.0.1:{port}"\n{more}' + pipeline("pump", on_topic("a/{pump}")))
    return config


def run_json(folder: Path, *args: str) -> tuple[int, dict[str, Any]]:
    done = edged("doctor", "--json", *args, cwd=folder)
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def of_check(report: dict[str, Any], check: str) -> list[dict[str, Any]]:
    return [each for each in report["findings"] if each["check"] == check]


# -- the command, whole -----------------------------------------------------------------------------


def test_what_depends_on_the_configuration_is_fine_with_a_broker(broker: Mosquitto, tmp_path: Path) -> None:
    code, report = run_json(tmp_path, "--config", str(configured(tmp_path, broker.port)))
    for check in ("config", "broker", "engine"):
        assert {each["severity"] for each in of_check(report, check)} == {"ok"}, check
    # What this machine lacks is the machine's: an error of it is allowed here, a check that fails is not.
    assert report["complete"] is True
    assert code == (0 if report["healthy"] else EXIT_UNHEALTHY)


def test_a_broker_that_is_away_makes_the_exit_code_5_and_the_json_keeps_its_keys(tmp_path: Path) -> None:
    code, report = run_json(tmp_path, "--config", str(configured(tmp_path, free_port())))
    assert code == EXIT_UNHEALTHY
    assert of_check(report, "broker")[0]["code"] == "broker-unreachable"
    assert report["healthy"] is False
    assert {"v", "version", "config", "healthy", "complete", "findings", "silent"} <= set(report)
    assert report["v"] == 1
    assert report["config"] == str(tmp_path / "edged.toml")
    keys = {"check", "code", "severity", "subject", "text", "advice", "fix", "details"}
    assert all(keys <= set(each) for each in report["findings"])
    order = ["error", "warning", "hint", "ok"]
    severities = [order.index(each["severity"]) for each in report["findings"]]
    assert severities == sorted(severities)


def test_a_configuration_with_faults_is_told_and_the_board_is_checked_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "edged.toml").write_text("[mqtt.main]\nurl = 7\n")
    code, report = run_json(tmp_path)
    assert code == EXIT_UNHEALTHY
    assert of_check(report, "config")[0]["code"] == "config-fault"
    assert of_check(report, "engine")
    assert not of_check(report, "broker")


def test_a_serial_port_that_a_pipeline_reads_is_looked_at_and_not_opened(tmp_path: Path) -> None:
    """The port is a pipe: who opens it waits for ever. No decoder is named, and nobody is plugged in."""
    os.mkfifo(tmp_path / "pipe")
    lines = [f'{{ type = "serial", port = "{tmp_path / name}" }}' for name in ("pipe", "gone", "gone")]
    config = "".join(
        pipeline(f"p{i}", line, decoder='{ type = "bridge" }', outputs='[{ type = "stdout" }]') for i, line in enumerate(lines)
    )
    (tmp_path / "edged.toml").write_text(config)
    _, report = run_json(tmp_path)
    errors = {(each["code"], each["subject"]) for each in of_check(report, "serial") if each["severity"] == "error"}
    assert errors == {("serial-port-unusable", str(tmp_path / "pipe")), ("serial-port-missing", str(tmp_path / "gone"))}
    assert of_check(report, "config")[0]["code"] == "ok"


def test_without_a_configuration_the_board_is_checked(tmp_path: Path) -> None:
    done = edged("doctor", "--json", cwd=tmp_path, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    report = json.loads(done.stdout)
    if report["config"] is not None:
        pytest.skip("this machine has a configuration of its own")
    assert of_check(report, "config")[0]["severity"] == "hint"
    assert of_check(report, "engine")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_configuration_asked_for_by_name_that_is_not_there_is_an_error(tmp_path: Path, by: str) -> None:
    if by == "option":
        done = edged("doctor", "--json", "--config", "none.toml", cwd=tmp_path)
    else:
        done = edged("doctor", "--json", cwd=tmp_path, EDGED_CONFIG="none.toml")
    assert done.returncode == EXIT_UNHEALTHY
    assert of_check(json.loads(done.stdout), "config")[0]["code"] == "config-not-found"


def test_the_screen_has_the_worst_first_and_fits_100_columns(tmp_path: Path) -> None:
    done = edged("doctor", "--all", "--config", str(configured(tmp_path, free_port())), cwd=tmp_path)
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("error    ")
    assert max(map(wide, lines)) <= 100
    assert "$ sudo systemctl start mosquitto" in done.stdout.decode()
    assert "".join(lines).endswith(str(tmp_path / "edged.toml"))


def test_a_secret_stays_one(make_broker: MakeBroker, tmp_path: Path) -> None:
    """Neither a right nor a wrong password is shown, wherever it goes."""
    broker = make_broker(users={"press": "other"}).start()
    password = tmp_path / "password"
    password.write_text("geheim-4711\n")
    config = configured(tmp_path, broker.port, f'username = "press"\npassword_file = "{password}"\n')
    for args in (["--json"], ["--all"]):
        done = edged("doctor", *args, "--config", str(config), cwd=tmp_path)
        assert b"broker-refused-login" in done.stdout
        assert b"geheim-4711" not in done.stdout + done.stderr


# -- one check that fails -----------------------------------------------------------------------------


def failing() -> Iterator[Finding]:
    yield ok("this much was seen")
    raise ZeroDivisionError("of a check")


def with_checks(monkeypatch: pytest.MonkeyPatch, *checks: examine.Check) -> tuple[int, dict[str, Any]]:
    """Run the command with these checks alone."""
    monkeypatch.setattr(doctor, "_look", lambda _: (Place(Tree(), {}, VirtualClock()), []))
    monkeypatch.setattr(examine, "checks_of", lambda _: list(checks))
    result = CliRunner().invoke(command, ["--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_check_that_fails_names_its_place_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    code, report = with_checks(monkeypatch, ("first", failing), ("second", lambda: [ok("fine")]))
    assert code == EXIT_FAILED
    assert (report["healthy"], report["complete"]) == (True, False)
    (fault,) = [each for each in report["findings"] if each["code"] == "check-failed"]
    assert "ZeroDivisionError in test_doctor.py, line" in fault["text"]
    assert [each["text"] for each in report["findings"][1:]] == ["this much was seen", "fine"]


def test_what_must_be_mended_counts_more_than_a_check_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = with_checks(monkeypatch, ("first", failing), ("second", lambda: [error("x", "bad")]))
    assert code == EXIT_UNHEALTHY


def test_warnings_and_hints_leave_the_exit_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    code, report = with_checks(monkeypatch, ("a", lambda: [warning("x", "w"), hint("y", "h")]), ("b", lambda: []))
    assert code == 0
    assert report["silent"] == ["b"]


def test_an_empty_tree_makes_no_check_fail(tmp_path: Path) -> None:
    """A machine that says nothing of itself at all."""
    report = examine.examine(checks_of(Place(Tree(tmp_path), {}, VirtualClock(), run=lambda _: None)))
    assert report.complete, report.findings


# -- the screen -----------------------------------------------------------------------------------------

SED = "sudo sed -i '1 s/$/ cgroup_enable=memory cgroup_memory=1/' /boot/cmdline.txt && sudo reboot"
REPORT = Report(
    (
        Finding("broker-unreachable", "error", "nothing listens", "start it", "sudo systemctl start mosquitto", "main", check="broker"),
        Finding("memory-cgroup-off", "warning", "limits do nothing", fix=SED, check="memory"),
        Finding("ok", "ok", "61 °C", check="thermal"),
        Finding("ok", "ok", "Python 3.11.2", check="python"),
    ),
    ("serial",),
)
SCREEN = r"""error    broker main: nothing listens [broker-unreachable]
         → start it
         $ sudo systemctl start mosquitto
warning  memory: limits do nothing [memory-cgroup-off]
         $ sudo sed -i '1 s/$/ cgroup_enable=memory cgroup_memory=1/' \
           /boot/cmdline.txt && sudo reboot
ok       thermal, python

1 error, 1 warning · configuration /etc/edged/edged.toml
"""


def test_the_screen_in_full() -> None:
    assert render(REPORT, Path("/etc/edged/edged.toml"), 80, show_all=False, colour=False) == SCREEN


def test_all_shows_what_is_fine_and_what_says_nothing() -> None:
    shown = render(REPORT, None, 80, show_all=True, colour=False)
    assert "ok       thermal: 61 °C\nok       python: Python 3.11.2\n         serial: nothing to see" in shown
    assert shown.endswith("1 error, 1 warning · no configuration\n")


def test_colours_change_no_text() -> None:
    coloured = render(REPORT, None, 80, show_all=True, colour=True)
    assert re.sub(r"\x1b\[\d+m", "", coloured) == render(REPORT, None, 80, show_all=True, colour=False)
    assert "\x1b[31merror\x1b[0m" in coloured


def test_nothing_to_mend_is_said() -> None:
    assert "nothing to mend" in render(Report((ok("x"),), ()), None, 80, show_all=False, colour=False)


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=120)


@given(st.lists(WORDS, min_size=1, max_size=8))
def test_a_broken_command_is_the_same_command_to_a_shell(words: list[str]) -> None:
    text = "printf '%s\\n' " + " ".join(quoted(word) for word in words)
    lines = broken(text, 100, "", "  ")
    done = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{word}\n" for word in words)


def test_a_long_path_is_broken_to_fit() -> None:
    lines = broken(f"sudo chmod 600 /{'a' * 300}/x", 100, "         $ ", "           ")
    assert max(map(len, lines)) <= 100
    joined = "".join(line.removesuffix("\\") for line in lines)
    assert "a" * 300 in joined


@pytest.mark.parametrize("width", [20, 40, 57, 100])
def test_every_line_fits_its_width(width: int) -> None:
    findings = (error("some-code", "word " * 60, "advice " * 40, "sudo something " + "word " * 40),)
    for line in render(Report(findings, ()), None, width, show_all=True, colour=False).splitlines():
        assert wide(line) <= max(width, 40)


def test_the_command_imports_nothing_heavy_itself(tmp_path: Path) -> None:
    """Models and runtimes are for its child processes."""
    program = (
        "import sys; from edged.cli.main import main; main(['doctor', '--config', 'none.toml']);"
        "print([m for m in ('numpy', 'paho', 'structlog', 'tflite_runtime', 'ai_edge_litert', 'cbor2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
