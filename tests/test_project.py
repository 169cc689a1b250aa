"""Rules of the project as a whole: docstrings, sizes, no places of one machine, commands in the README, the wheel."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.waiting import PATIENCE_S

MOST_LINES = 300
LONGER: dict[str, str] = {}

# Places that exist on one machine only. Written so that this file does not find itself.
MACHINE = [
    re.compile(pattern)
    for pattern in (
        r"(?<![\w.])/(?:wo" r"rk/\w|ro" r"ot/\.)",
        r"(?<![\w.$])/home/(?!USER|pi\b)\w",
        r"(?<![\w.])/opt/(?:wheels|pypi)",
        r"https?://[\w.:-]*(?:pypi|pythonhosted|artifactory|nexus|npmjs)\b",
        r"(?m)^\s*(?:extra-)?index-url\s*=",
    )
]
# The Python of the bridge; of its firmware side the wheel holds the library alone.
BRIDGE = re.compile(r"firmware_bridge/[^/]+$")
_FENCE = re.compile(r"^<!-- (?P<mark>run|file: (?P<file>[\w./-]+)) -->\n```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def tracked() -> list[Path]:
    """Give the files that belong to the project; without git, all of its folders."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPO, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        kept = [path for path in REPO.rglob("*") if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)]
        return sorted(path for path in kept if path.is_file())
    return sorted(path for name in listed.stdout.decode().split("\0") if name and (path := REPO / name).is_file())


def named(path: Path) -> str:
    return str(path.relative_to(REPO))


MODULES = [
    path for path in tracked() if path.suffix == ".py" and path.relative_to(REPO).parts[0] in ("edged", "firmware_bridge", "bench", "soak")
]


def test_every_module_says_its_job_in_its_first_line() -> None:
    first = {module: (ast.get_docstring(ast.parse(module.read_bytes())) or "").split("\n")[0] for module in MODULES}
    assert [f"{named(module)}: {line!r}" for module, line in first.items() if not line.endswith(".") or len(line.split()) < 4] == []


def test_modules_are_short() -> None:
    lines = {named(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    too_long = [f"{name} has {count} lines: it probably has two jobs" for name, count in lines.items() if count > MOST_LINES]
    assert [text for text in too_long if text.split()[0] not in LONGER] == []


def test_exceptions_from_the_length_are_still_needed() -> None:
    assert [name for name in LONGER if len((REPO / name).read_text(encoding="utf-8").splitlines()) <= MOST_LINES] == []


def test_no_file_speaks_of_one_machine() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{named(path)}: {match[0]}" for pattern in MACHINE for match in pattern.finditer(text)]
    assert found == []


def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    """Run the marked blocks of README.md, in order, where the checkout seems to be the current folder.

    `<!-- run -->` before a block of `sh` or `console` marks it (in `console`, lines that begin with `$ `
    are commands); `<!-- file: NAME -->` before any block writes it to that file first.
    """
    blocks = list(_FENCE.finditer((REPO / "README.md").read_text(encoding="utf-8")))
    if not any(block["mark"] == "run" for block in blocks):
        pytest.skip("README.md has no block marked `<!-- run -->` yet")
    for name in {path.relative_to(REPO).parts[0] for path in tracked()}:
        (tmp_path / name).symlink_to(REPO / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for block in blocks:
        if block["file"]:
            # Root would else take the system's folder, and find there what an earlier run left.
            state = f'\n[device]\nstate_dir = "{tmp_path / "state"}"\n' if block["file"].endswith(".toml") else ""
            (tmp_path / block["file"]).write_text(block["body"] + state, encoding="utf-8")
        else:
            run_block(block["kind"], block["body"], tmp_path)


def run_block(kind: str, body: str, folder: Path) -> None:
    assert kind in ("sh", "console"), f"cannot run a block of {kind}"
    commands = body if kind == "sh" else "\n".join(line[2:] for line in body.splitlines() if line.startswith("$ "))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("EDGED")}
    environ |= {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "runtime"), "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the wheel from a copy of the tree, so that nothing is left in this one; give the names in it."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in tracked():
        copy = folder / "tree" / path.relative_to(REPO)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "."]
    done = subprocess.run(command, cwd=folder / "tree", capture_output=True, text=True)
    assert done.returncode == 0, f"pip install -e '.[test]' brings what building needs\n{done.stderr}"
    (built,) = folder.glob("edged-*.whl")
    return zipfile.ZipFile(built).namelist()


def test_the_wheel_holds_what_runs(wheel: list[str]) -> None:
    parts = [named(path) for path in tracked() if named(path).startswith("edged/") or BRIDGE.match(named(path))]
    assert sorted(set(parts) - set(wheel)) == []


@pytest.mark.parametrize(
    "part",
    [
        "edged/py.typed",
        "edged/demo/har/model.toml",
        "edged/demo/har/har_float.tflite",
        "edged/demo/har/golden-fp32.npz",
        "edged/demo/har/LICENSE",
        "edged/demo/recordings/LICENSE",
        "edged/demo/recordings/walking_01_26Hz_4g_mg.csv",
    ],
)
def test_the_wheel_holds_what_the_demo_needs(wheel: list[str], part: str) -> None:
    assert part in wheel


def test_the_wheel_holds_every_device_profile_and_the_unit(wheel: list[str]) -> None:
    profiles = [f"edged/device_profiles/{path.name}" for path in (REPO / "device_profiles").glob("*.toml")]
    unit = ["edged.service", "edged.sysusers.conf", "edged.tmpfiles.conf", "99-edged.rules", "edged.toml"]
    assert sorted({*profiles, *(f"edged/systemd/{name}" for name in unit)} - set(wheel)) == []


def test_the_wheel_holds_the_bridge_for_firmware_too(wheel: list[str]) -> None:
    """Who installed edged has the C library and the protocol at hand; what tests them stays in the checkout."""
    needed = {
        f"firmware_bridge/{name}"
        for name in ("PROTOCOL.md", "golden.txt", "py.typed", "firmware/edged_bridge.h", "firmware/edged_bridge.c")
    }
    assert sorted(needed - set(wheel)) == []
    assert [name for name in wheel if name.startswith(("firmware_bridge/firmware/test", "firmware_bridge/firmware/example"))] == []


def test_the_wheel_holds_the_licence_and_no_tests(wheel: list[str]) -> None:
    assert any(name.endswith("LICENSE") and ".dist-info/" in name for name in wheel)
    assert [name for name in wheel if name.startswith(("tests/", "bench/", "soak/"))] == []
