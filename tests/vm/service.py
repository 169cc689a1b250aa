"""Steps that look at the service as systemd runs it: its start and stop, its user, its socket, its journal."""

from __future__ import annotations

import json
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from tests.vm.unit import EDGED, command
from tests.waiting import PATIENCE_S

EDGED_COMMAND = "/opt/edged/bin/edged"


def boots_to_ready() -> str:
    EDGED.wait_ready()
    assert (type_ := EDGED.show("Type")) == "notify", f"systemd does not wait for READY=1: Type={type_}"
    return f"in {EDGED.ready_since():.1f} s"


def runs_as_its_user() -> str:
    status = Path(f"/proc/{EDGED.wait_ready()}/status").read_text()
    uid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:"))
    assert (name := pwd.getpwuid(uid).pw_name) == "edged", f"it runs as {name}"
    return f"(uid {uid})"


def answers_its_group() -> str:
    command("useradd", "--groups", "edged", "member")
    command("useradd", "stranger")
    member, stranger = (_as(user, EDGED_COMMAND, "status") for user in ("member", "stranger"))
    assert member.returncode == 0, f"to a member of group edged it says: {member.stdout}{member.stderr}"
    assert stranger.returncode == 4, f"to anybody else it says: {stranger.stdout}{stranger.stderr}"
    return f"\n{member.stdout}"


def doctor_looks() -> str:
    done = _as("root", EDGED_COMMAND, "doctor")
    return f"(exit code {done.returncode})\n{done.stdout}{done.stderr}"


def takes_a_release() -> str:
    """Install one from a folder that only root may read: the service gets open files, and its trial the rights that the unit leaves."""
    folder = Path("/root/har")
    shutil.copytree(next(Path("/opt/edged/lib").glob("python3*/site-packages/edged/demo/har")), folder)
    folder.chmod(0o700)
    command(EDGED_COMMAND, "pack", str(folder))
    command(EDGED_COMMAND, "models", "install", str(folder))
    report = json.loads(command(EDGED_COMMAND, "models", "show", "har", "1", "--json"))["trial"]
    assert not report["not_confined"], f"under the unit, the trial could not have: {report['not_confined']}"
    return f"(trial confined by {', '.join(report['confined'])})"


def stops_cleanly() -> str:
    began = time.monotonic()
    EDGED.do("stop")
    took = time.monotonic() - began
    assert (result := EDGED.show("Result")) == "success", f"systemd calls the stop {result}"
    return f"in {took:.1f} s"


def journal_is_structured() -> str:
    """See that every line of every boot is one JSON object, but for what Python prints of a process that the watchdog aborts."""
    aborted, count, wrong = set(), 0, []
    for entry in EDGED.said():
        line = entry["MESSAGE"]
        if str(line).startswith("Fatal Python error: Aborted"):
            aborted.add(entry["_PID"])
        if entry["_PID"] in aborted:
            continue
        count += 1
        if not _is_structured(line):
            wrong.append(line)
    assert count, "there is none"
    assert not wrong, f"{len(wrong)} of {count} lines are not: {wrong[:5]}"
    return f"({count} lines)"


def _as(user: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["runuser", "-u", user, "--", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", timeout=PATIENCE_S
    )


def _is_structured(line: object) -> bool:
    try:
        return isinstance(line, str) and {"time", "level", "event"} <= json.loads(line).keys()
    except (ValueError, AttributeError):
        return False
