"""The systemd unit is one that systemd takes without a word."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO


def test_systemd_finds_nothing_to_say_of_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    unit = tmp_path / "edged.service"
    text = (REPO / "systemd" / "edged.service").read_text(encoding="utf-8")
    unit.write_text(text.replace("ExecStart=edged", f"ExecStart={sys.executable}"), encoding="utf-8")
    said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
