"""The boot test, from outside of the machine: makes it, runs it, and prints what it tells of its steps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.vm import debian, machine, wheels
from tests.vm.process import Failed
from tests.vm.steps import BOOTS

_HERE = Path(__file__).parent
_IN_THE_MACHINE = "opt/vm-test/tests"
# What takes half of the time to boot, and has nothing to do with edged: nobody logs in, no device is plugged in.
_LEFT_OUT = ("e2scrub_reap.service", "getty.target", "systemd-logind.service", "systemd-udev-trigger.service")
_TIMEOUT_S = 900
_CONSOLE_LINES = 30


def main() -> int:
    """Give the exit code: 0 where every step holds."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))  # so that nothing is left behind
    try:
        with tempfile.TemporaryDirectory(prefix="edged-vm-") as folder:
            return _run(Path(folder))
    except Failed as error:
        print(f"FAIL  the machine cannot be made: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(folder: Path) -> int:
    made = _make(folder)
    print(f"Booting it {len(BOOTS)} times.", flush=True)
    began = time.monotonic()
    failed = _follow(made)
    print(f"{len(failed)} of {sum(len(boot.steps) for boot in BOOTS)} steps failed, in {time.monotonic() - began:.0f} s.")
    return 1 if failed else 0


def _make(folder: Path) -> machine.Machine:
    """Make the machine, and leave nothing else in the folder."""
    root = folder / "root"
    with _stage("Debian root file system"):
        archive = debian.root_file_system(Path(os.environ.get("EDGED_VM_CACHE", Path.home() / ".cache" / "edged-vm")))
        debian.unpack(archive, root)
    with _stage("edged and what it needs, as wheels"):
        wheels.fetch(root / "wheels", debian.PYTHON)
    with _stage("edged installed"):
        _install(root)
    with _stage("disk image"):
        made = machine.make(folder, root)
        shutil.rmtree(root)
    return made


def _install(root: Path) -> None:
    """Install edged as a user does, and the test beside it."""
    bin_ = f"{debian.VENV}/bin"
    debian.inside(root, f"{bin_}/pip", "install", "--no-index", "--find-links", "/wheels", "edged")
    shutil.rmtree(root / "wheels")
    shutil.copytree(_HERE / "root", root, dirs_exist_ok=True)
    debian.inside(root, f"{bin_}/edged", "service", "install", "--root", "/", "--enable")
    shutil.copytree(_HERE, root / _IN_THE_MACHINE / "vm", ignore=shutil.ignore_patterns("__pycache__", "root"))
    for name in ("__init__.py", "peer.py", "stuck.py", "waiting.py"):
        shutil.copy(_HERE.parent / name, root / _IN_THE_MACHINE)
    debian.inside(root, "systemctl", "enable", "vm-test", "mosquitto")
    debian.inside(root, "systemctl", "mask", *_LEFT_OUT)


def _follow(made: machine.Machine) -> list[str]:
    """Boot by boot, print the steps as they are taken; give the names of those that failed, or were not reached."""
    open_ = [step.name for boot in BOOTS for step in boot.steps]
    failed = []
    deadline = time.monotonic() + _TIMEOUT_S
    for boot in BOOTS:
        for line in machine.boot(made, deadline - time.monotonic()):
            told = json.loads(line)
            open_.remove(told["step"])
            _print(told["ok"], told["step"], told["said"])
            if not told["ok"]:
                failed.append(told["step"])
        if boot.steps[-1].name in open_:
            print("The console's last lines:", *made.console.read_text(errors="replace").splitlines()[-_CONSOLE_LINES:], sep="\n  ")
            break
    for name in open_:
        _print(False, name, "was not reached")
    return failed + open_


def _print(ok: bool, name: str, said: str) -> None:
    first, *more = said.splitlines() or [""]
    print(f"{'ok  ' if ok else 'FAIL'}  {name} {first}".rstrip(), *more, sep="\n        ", flush=True)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"made  {name} in {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
