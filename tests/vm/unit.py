"""A systemd unit, asked and moved with systemctl and journalctl."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from tests.waiting import PATIENCE_S, until

Entry = dict[str, Any]


class Unit:
    """One service of this machine."""

    def __init__(self, name: str) -> None:
        self.name = f"{name}.service"

    def show(self, name: str) -> str:
        """Give one of its properties; empty where there is none."""
        return command("systemctl", "show", "--property", name, "--value", self.name).strip()

    def wait_ready(self, other_than: int = 0) -> int:
        """Wait until it is active, with a main process other than that one; give its process id."""
        return until(lambda: self._ready_pid(other_than), f"{self.name} is active")

    def ready_since(self) -> float:
        """Give the time at which it became active, as `time.monotonic()` gives it: seconds since the kernel's start."""
        return int(self.show("ActiveEnterTimestampMonotonic")) / 1e6

    def kill(self) -> float:
        """Kill its main process with SIGKILL; give the time."""
        now = time.monotonic()
        command("systemctl", "kill", "--kill-whom=main", "--signal=KILL", self.name)
        return now

    def do(self, verb: str) -> None:
        """Start, stop or restart it, and wait until that is done."""
        command("systemctl", verb, self.name)

    def said(self) -> list[Entry]:
        """Give what its processes wrote to the journal, over all boots; `MESSAGE` is the line."""
        return _entries(f"_SYSTEMD_UNIT={self.name}")

    def said_of_it(self) -> list[str]:
        """Give what systemd wrote of it in this boot."""
        return [str(entry["MESSAGE"]) for entry in _entries("--boot", f"UNIT={self.name}", "_PID=1")]

    def recent(self) -> str:
        """Give its last lines in the journal, for people."""
        return command("journalctl", "--boot", "--unit", self.name, "--lines=15", "--output=cat", "--no-pager")

    def _ready_pid(self, other_than: int) -> int:
        pid = int(self.show("MainPID"))
        return pid if pid != other_than and self.show("ActiveState") == "active" else 0


def command(*words: str) -> str:
    """Run a command that has to succeed; give what it printed."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S)
    assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def _entries(*matches: str) -> list[Entry]:
    return [json.loads(line) for line in command("journalctl", "--output=json", "--no-pager", *matches).splitlines()]


EDGED = Unit("edged")
SITE = Unit("mosquitto-site")  # the broker that takes results; nobody but the test starts it
