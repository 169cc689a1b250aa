"""edged and what it needs as wheels for the guest's Python, fetched here, where the index is set up."""

from __future__ import annotations

import shutil
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement

from tests.vm.process import run

_REPO = Path(__file__).parents[2]
_PARTS = ("edged", "device_profiles", "systemd")
_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
_GLIBC = 36  # of Debian 12; wheels for an older one run there, too
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(5, _GLIBC + 1)] + ["manylinux2014_x86_64", "manylinux2010_x86_64"]


def fetch(folder: Path, python: str) -> None:
    """Put into `folder` a wheel of the working tree and those of all it needs with Python `python`, such as 3.11."""
    edged = _build(folder)
    target = ["--python-version", python, "--implementation", "cp", *(word for each in _PLATFORMS for word in ("--platform", each))]
    _pip("download", "--only-binary", ":all:", *target, "--dest", str(folder), *_needed(edged, python))


def _build(folder: Path) -> Path:
    """Build edged's wheel from a copy of what it is made of, so that nothing is left in the checkout."""
    tree = folder / "tree"
    for part in _PARTS:
        shutil.copytree(_REPO / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(_REPO / name, tree)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(tree))
    shutil.rmtree(tree)
    (edged,) = folder.glob("edged-*.whl")
    return edged


def _needed(wheel: Path, python: str) -> list[str]:
    """Give the requirements of a wheel that hold for `python`: pip would ask the Python that it runs on."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
    guest = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    needed = [each for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate(guest)]
    return [f"{each.name}{each.specifier}" for each in needed]


def _pip(*args: str) -> None:
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", *args, timeout_s=600)
