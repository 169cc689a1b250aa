"""What ships for systemd: taken without a word, closed to what it does not need, explained line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edged.errors import OperatorError
from edged.service.unit import Environment, unit_for
from tests.conftest import REPO

SYSTEMD = REPO / "systemd"
MOST_EXPOSED = 2.0
_CODE = re.compile(r"(?m)^\| `([^`]+)` \|")


def environment(prefix: str = "/opt/edged", command: str = sys.executable) -> Environment:
    """Describe an environment at `prefix` whose command is there, as verifying asks for."""
    folder = Path(prefix)
    return Environment(Path(command), Path("/usr/bin/python3.11"), folder / "lib/python3.11/site-packages/edged", (folder, Path("/usr")))


def tool(name: str, package: str) -> str:
    """Give the path of a program of systemd; skip without it."""
    return shutil.which(name) or pytest.skip(f"needs {name}: apt-get install {package}")


def lines_of(name: str) -> list[str]:
    """Give the lines of one of the files that say something."""
    lines = (SYSTEMD / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and line[0] not in "#["]


def section_of_readme(title: str) -> str:
    """Give a part of README.md, from its heading to the next of the same kind."""
    return (SYSTEMD / "README.md").read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture(params=["/opt/edged", "/home/pi/edged/.venv"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Write the unit for an environment in the open, and for one in a home folder."""
    unit = tmp_path / "edged.service"
    unit.write_text(unit_for(environment(request.param)), encoding="utf-8")
    return unit


def test_systemd_finds_nothing_to_say_of_the_unit(unit: Path) -> None:
    said = subprocess.run([tool("systemd-analyze", "systemd"), "verify", str(unit)], capture_output=True, text=True)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_the_service_is_closed_to_what_it_does_not_need(unit: Path) -> None:
    command = [tool("systemd-analyze", "systemd"), "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


def test_an_environment_in_a_home_folder_is_shown_to_the_service_and_nothing_else_there() -> None:
    hidden, shown = unit_for(environment("/opt/edged")).splitlines(), unit_for(environment("/home/pi/edged/.venv")).splitlines()
    assert [line for line in shown if line not in hidden] == ["ProtectHome=tmpfs", "BindReadOnlyPaths=/home/pi/edged/.venv"]
    assert [line for line in hidden if line not in shown] == ["ProtectHome=yes"]


def test_all_commands_of_the_unit_are_those_of_the_environment() -> None:
    text = unit_for(environment(command="/opt/edged/bin/edged"))
    assert re.findall(r"(?m)^(Exec\w+)=-?(\S+)", text) == [
        ("ExecStartPre", "/opt/edged/bin/edged"),
        ("ExecStart", "/opt/edged/bin/edged"),
        ("ExecStopPost", "/opt/edged/bin/edged"),
    ]


def test_every_line_of_the_unit_is_explained_and_nothing_else_is() -> None:
    explained = _CODE.findall(section_of_readme("The unit, line by line").split("### Left out")[0])
    assert sorted(explained) == sorted(lines_of("edged.service"))


def test_every_line_of_the_udev_rule_is_explained_and_nothing_else_is() -> None:
    explained = [line.replace(r"\|", "|") for line in _CODE.findall(section_of_readme("The udev rule, line by line"))]
    assert explained == lines_of("99-edged.rules")


def test_the_readme_says_where_each_file_goes() -> None:
    head = (SYSTEMD / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert sorted(_CODE.findall(head)) == sorted(path.name for path in SYSTEMD.iterdir() if path.name != "README.md")


def test_systemd_makes_the_user_and_the_folders(tmp_path: Path) -> None:
    sysusers = tool("systemd-sysusers", "systemd")
    (tmp_path / "etc").mkdir()
    made = subprocess.run([sysusers, f"--root={tmp_path}", str(SYSTEMD / "edged.sysusers.conf")], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert re.search(r"(?m)^dialout:[^:]*:\d+:edged$", (tmp_path / "etc/group").read_text())
    for line in lines_of("edged.tmpfiles.conf"):
        _, path, mode, _, group = line.split()
        assert (tmp_path / "etc/group").read_text().count(f"{group}:") == 1, f"{path} is for a group that nobody makes"
        assert int(mode, 8) & 0o007 == 0, f"{path} is open to all"


def test_udev_takes_the_rule() -> None:
    udevadm = tool("udevadm", "udev")
    verified = subprocess.run([udevadm, "verify", str(SYSTEMD / "99-edged.rules")], capture_output=True, text=True)
    if "Unknown command verb" in verified.stderr:
        pytest.skip("needs udevadm verify, of systemd 254 or newer")
    assert verified.returncode == 0, verified.stderr


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"command": "/nowhere/bin/edged"}, "environment-without-command"),
        ({"prefix": "/tmp/edged"}, "environment-in-tmp"),
        ({"prefix": "/var/tmp/edged"}, "environment-in-tmp"),
        ({"prefix": "/opt/my edged"}, "environment-path"),
        ({"prefix": "/opt/100%"}, "environment-path"),
        ({"prefix": "/opt/$HOME"}, "environment-path"),
        ({"prefix": "/opt/a:b"}, "environment-path"),
        ({"prefix": "/opt/edged\nUser=root"}, "environment-path"),
    ],
)
def test_an_environment_that_a_service_cannot_run_is_refused(change: dict[str, str], code: str) -> None:
    with pytest.raises(OperatorError) as caught:
        environment(**change).check(Path("/"))
    assert caught.value.code == code
    assert caught.value.hint
