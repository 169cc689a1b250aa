"""`edged service`: install, install again, uninstall, on the root folder of another system; and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edged.cli.board import calibrate
from edged.cli.main import main
from edged.clock import SystemClock
from edged.errors import BoardError, OperatorError
from edged.service.install import COMMAND, SHIPPED, UNIT_FILE, WANTS, Installer, require_systemd, run_command
from edged.service.restarts import Restarts
from edged.service.unit import Environment, example_for
from tests.conftest import REPO

CONFIG = "etc/edged/edged.toml"
FILES = {UNIT_FILE, WANTS, *SHIPPED, CONFIG, COMMAND}
# What systemd-sysusers writes, where there is one.
ACCOUNTS = {f"etc/{name}" for name in ("passwd", "group", "shadow", "gshadow", ".pwd.lock")}


def environment_in(root: Path, place: str = "opt/edged") -> Environment:
    """Make what install looks at of an environment, in a system's root folder."""
    prefix, package = root / place, root / place / "lib/python3.11/site-packages/edged"
    for path in (root / "usr/bin/python3.11", prefix / "bin/edged", package / "__init__.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o755)
    return Environment(prefix / "bin/edged", root / "usr/bin/python3.11", package, (prefix, root / "usr"))


class Machine:
    """Another system in a folder, with an environment in it; what was said and run is kept."""

    def __init__(self, root: Path, place: str = "opt/edged") -> None:
        self.root = root
        self.environment = environment_in(root, place)
        self.before = self.files()
        self.said: list[str] = []
        self.ran: list[str] = []

    def files(self) -> dict[str, tuple[int, int]]:
        """Give each file and link, but accounts, with what tells whether it was written."""
        return {
            str(path.relative_to(self.root)): (path.lstat().st_ino, path.lstat().st_mtime_ns)
            for path in self.root.rglob("*")
            if (path.is_symlink() or path.is_file()) and str(path.relative_to(self.root)) not in ACCOUNTS
        }

    def new(self) -> set[str]:
        """Name the files and links that were not there before."""
        return self.files().keys() - self.before.keys()

    def installer(self, live: bool = False, dry: bool = False) -> Installer:
        self.said.clear()
        return Installer(self.root, live, dry, self.said.append, self.run if live else run_command)

    def run(self, words: Sequence[str]) -> None:
        """Take a command for the running system: systemd's own work is for the test that boots one."""
        self.ran.append(" ".join(words))

    def install(self, live: bool = False, dry: bool = False, enable: bool = True, now: bool = False) -> None:
        self.installer(live, dry).install(self.environment, enable=enable, now=now)

    def text(self, place: str) -> str:
        return (self.root / place).read_text(encoding="utf-8")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_image_gets_all_files_and_starts_the_service_of_its_own_environment(machine: Machine) -> None:
    machine.install()
    assert machine.new() == FILES
    assert "ExecStart=/opt/edged/bin/edged run --config /etc/edged/edged.toml\n" in machine.text(UNIT_FILE)
    assert os.readlink(machine.root / WANTS) == f"/{UNIT_FILE}"
    assert 'model_dir = "/opt/edged/lib/python3.11/site-packages/edged/demo/har"' in machine.text(CONFIG)
    assert {line.split()[1].rstrip(":") for line in machine.said if line.startswith(("wrote", "linked"))} == {
        str(machine.root / place) for place in FILES
    }


def test_an_image_gets_the_user(machine: Machine) -> None:
    if not shutil.which("systemd-sysusers"):
        pytest.skip("needs systemd-sysusers: apt-get install systemd")
    machine.install()
    assert re.search(r"(?m)^edged:.*:/var/lib/edged:", machine.text("etc/passwd"))
    assert re.search(r"(?m)^dialout:.*:edged$", machine.text("etc/group"))


def test_without_being_asked_to_it_is_not_enabled(machine: Machine) -> None:
    machine.install(enable=False)
    assert machine.new() == FILES - {WANTS}


def test_installing_again_writes_nothing(machine: Machine) -> None:
    machine.install()
    before = machine.files()
    machine.install()
    assert machine.files() == before
    assert [line for line in machine.said if line.startswith(("wrote", "linked"))] == []


def test_a_unit_of_another_version_is_replaced(machine: Machine) -> None:
    machine.install()
    wanted = machine.text(UNIT_FILE)
    (machine.root / UNIT_FILE).write_text("[Service]\nExecStart=/old\n")
    machine.install()
    assert machine.text(UNIT_FILE) == wanted


def test_the_operators_configuration_is_never_touched(machine: Machine) -> None:
    (machine.root / CONFIG).parent.mkdir(parents=True)
    (machine.root / CONFIG).write_text("mine")
    machine.install()
    machine.installer().uninstall()
    assert machine.text(CONFIG) == "mine"


def test_a_configuration_that_is_a_broken_link_is_not_written_through(machine: Machine) -> None:
    (machine.root / CONFIG).parent.mkdir(parents=True)
    (machine.root / CONFIG).symlink_to("elsewhere")
    machine.install()
    assert not (machine.root / "etc/edged/elsewhere").exists()


def test_the_example_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = tmp_path / "edged.toml"
    example.write_text(example_for(replace(Environment.running(), package=REPO / "edged")), encoding="utf-8")
    assert main(["check", "--config", str(example)]) == 0, capsys.readouterr()


def test_uninstall_leaves_what_it_says_and_nothing_else(machine: Machine) -> None:
    machine.install()
    (machine.root / f"{UNIT_FILE}.d").mkdir()
    (machine.root / f"{UNIT_FILE}.d/override.conf").touch()
    machine.installer().uninstall()
    assert machine.new() == {CONFIG, f"{UNIT_FILE}.d/override.conf"}
    kept = [line.split(maxsplit=1)[1] for line in machine.said if line.startswith("kept")]
    assert kept[:2] == [str(machine.root / "etc/edged"), str(machine.root / f"{UNIT_FILE}.d")]
    assert (kept[2:] != []) == (machine.root / "etc/passwd").exists()


def test_uninstall_of_nothing_says_so(machine: Machine) -> None:
    machine.installer().uninstall()
    assert machine.said == ["nothing  of the service is installed here"]
    assert machine.new() == set()


@pytest.mark.parametrize("live", [False, True])
def test_a_dry_run_says_all_and_does_nothing(machine: Machine, live: bool) -> None:
    machine.install(dry=True, live=live)
    assert (machine.new(), machine.ran) == (set(), [])
    assert all(line.startswith(("would", "left")) for line in machine.said)
    machine.install()
    machine.installer(live=live, dry=True).uninstall()
    assert (machine.new(), machine.ran) == (FILES, [])


def test_on_the_running_system_systemd_is_told(machine: Machine) -> None:
    machine.install(live=True, enable=False, now=True)
    assert machine.ran == [
        "systemd-sysusers edged.conf",
        "systemd-tmpfiles --create edged.conf",
        "systemctl daemon-reload",
        "systemctl enable --now edged.service",
    ]
    assert (machine.root / CONFIG).stat().st_mode & 0o777 == 0o640
    machine.ran.clear()
    (machine.root / "run/udev").mkdir(parents=True)
    (machine.root / "run/udev/control").touch()
    machine.installer(live=True).uninstall()
    assert machine.ran == ["systemctl disable --now edged.service", "systemctl daemon-reload", "udevadm control --reload"]


def test_an_environment_in_a_closed_home_folder_will_do(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "home/pi/pump/.venv")
    (tmp_path / "home/pi").chmod(0o700)
    machine.install()
    assert "\nProtectHome=tmpfs\nBindReadOnlyPaths=/home/pi/pump/.venv\n" in machine.text(UNIT_FILE)


def test_an_interpreter_in_a_home_folder_is_shown_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "home/pi/pump/.venv")
    python = tmp_path / "root/pythons/3.12/bin/python3.12"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    machine.environment = replace(machine.environment, interpreter=python)
    machine.install()
    assert "\nBindReadOnlyPaths=/home/pi/pump/.venv /root/pythons/3.12\n" in machine.text(UNIT_FILE)


@pytest.mark.parametrize(
    ("place", "hint"),
    [("opt", "chmod o+x"), ("opt/edged", "chmod -R o+rX"), ("opt/edged/bin/edged", "chmod -R o+rX")],
)
def test_an_environment_that_others_may_not_read_is_refused(machine: Machine, place: str, hint: str) -> None:
    (machine.root / place).chmod(0o700)
    with pytest.raises(OperatorError) as caught:
        machine.install()
    assert (caught.value.code, caught.value.hint) == ("environment-closed", f"{hint} {machine.root / place}")
    assert machine.new() == set()


def test_an_environment_of_one_user_is_refused(machine: Machine) -> None:
    machine.environment = replace(machine.environment, of_one_user=True)
    with pytest.raises(OperatorError) as caught:
        machine.install()
    assert caught.value.code == "environment-of-one-user"


def test_an_environment_beside_the_image_is_told(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    machine.environment = replace(machine.environment, command=Path("/bin/sh"))
    machine.install()
    assert machine.said[0] == f"note     the service will run /bin/sh: have it there, in {machine.root}"


def test_a_place_that_cannot_be_written_is_named(machine: Machine) -> None:
    (machine.root / "etc").touch()
    with pytest.raises(BoardError) as caught:
        machine.install()
    assert (caught.value.code, str(machine.root / UNIT_FILE) in caught.value.text) == ("cannot-write", True)


def test_a_command_that_fails_is_told_with_its_own_words() -> None:
    with pytest.raises(BoardError) as caught:
        run_command(["sh", "-c", "echo no such unit >&2; exit 5"])
    assert caught.value.text.endswith("failed: no such unit")
    with pytest.raises(BoardError) as caught:
        run_command(["/nowhere/systemctl"])
    assert caught.value.code == "command-failed"


def test_a_system_without_systemd_is_told(tmp_path: Path) -> None:
    with pytest.raises(BoardError) as caught:
        require_systemd(tmp_path)
    assert caught.value.code == "no-systemd"


@pytest.mark.parametrize("arguments", [["install", "--now"], ["uninstall"]])
def test_who_is_not_root_is_told_the_one_command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["service", *arguments]) == 3
    assert f"→ sudo {Environment.running().command} service {' '.join(arguments)}\n" in capsys.readouterr().err


def test_another_system_cannot_be_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "install", "--root", str(tmp_path), "--now"]) == 2
    assert "--enable" in capsys.readouterr().err


def test_the_command_installs_and_says_what_is_next(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Environment, "running", lambda: machine.environment)
    assert main(["service", "install", "--root", str(machine.root), "--enable"]) == 0
    assert "Next: " in capsys.readouterr().out
    assert machine.new() == FILES
    assert main(["service", "uninstall", "--root", str(machine.root)]) == 0
    assert machine.new() == {CONFIG}


@pytest.mark.parametrize("arguments", [["service"], ["service", "install"], ["service", "uninstall"]])
def test_the_help_has_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert "before-start" not in shown


def test_the_unit_waits_longer_from_failure_to_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []
    calibrated: list[str] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(calibrate, "calibrate_if_needed", lambda config, _: calibrated.append(config))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    for result in ("watchdog", "exit-code", "signal", "success", "signal"):
        monkeypatch.setenv("SERVICE_RESULT", result)
        assert main(["service", "after-end"]) == 0
        assert main(["service", "before-start"]) == 0
    assert waits == [2, 4]
    assert calibrated == ["/etc/edged/edged.toml"]  # after the clean end alone
    said = capsys.readouterr().err.splitlines()
    assert [re.sub(r'"time":"[^"]+"', "…", line) for line in said] == [
        f'{{…,"level":"warning","event":"start-delayed","failures":{failures},"pause_s":{wait}}}' for failures, wait in ((2, 2), (3, 4))
    ]


def test_the_units_own_commands_are_not_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert main(["service", "before-start"]) == 3
    assert "RUNTIME_DIRECTORY" in capsys.readouterr().err


def test_a_failure_that_cannot_be_counted_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/nowhere/at/all")
    monkeypatch.setenv("SERVICE_RESULT", "exit-code")
    assert main(["service", "after-end"]) == 1
    assert "[cannot-write]" in capsys.readouterr().err


def test_after_a_failure_the_service_command_is_quick(tmp_path: Path) -> None:
    """It runs at each start of the service, on a board that may be in trouble."""
    Restarts(tmp_path, SystemClock()).ended("signal")
    program = (
        "import sys; from edged.cli.main import main; main(['service', 'before-start']);"
        "print([name for name in ('numpy', 'paho', 'structlog', 'msgspec') if name in sys.modules])"
    )
    environ = {**os.environ, "RUNTIME_DIRECTORY": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_of_the_environment_can_be_typed_by_its_name(machine: Machine) -> None:
    machine.install()
    assert os.readlink(machine.root / COMMAND) == "/opt/edged/bin/edged"
    machine.installer().uninstall()
    assert not os.path.lexists(machine.root / COMMAND)


def test_a_command_of_that_name_that_is_somebody_else_s_stays(machine: Machine) -> None:
    (machine.root / COMMAND).parent.mkdir(parents=True)
    (machine.root / COMMAND).symlink_to("/srv/theirs/edged")
    machine.install()
    machine.installer().uninstall()
    assert os.readlink(machine.root / COMMAND) == "/srv/theirs/edged"
