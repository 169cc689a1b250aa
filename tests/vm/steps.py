"""What the boot test looks at, in its order, boot by boot. A step gives a few words to follow its name, or raises."""

from __future__ import annotations

import json
import pwd
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.service.ask import ask
from tests.vm import traffic
from tests.vm.unit import Unit, command
from tests.waiting import PATIENCE_S, until

EDGED = Unit("edged")
SITE = Unit("mosquitto-site")  # the broker that takes results; nobody else starts it
EDGED_COMMAND = "/opt/edged/bin/edged"
SOCKET = Path("/run/edged/control.sock")
STUCK_FILE = Path("/run/vm-test/stuck")
DROP_IN = Path("/run/systemd/system/edged.service.d/stuck.conf")
STUCK = f"""\
[Service]
Environment=PYTHONPATH=/opt/vm-test EDGED_STUCK_FILE={STUCK_FILE}
ExecStart=
ExecStart=/opt/edged/bin/python -m tests.stuck run --config /etc/edged/edged.toml
WatchdogSec=10
"""
SOME = 10  # results by which the work has begun, and not ended

BEFORE_ALL = range(5)
OVER_KILL = range(100, 140)
OVER_HANG = range(200, 210)
OVER_REBOOT = range(300, 340)
AFTER_REBOOT = range(350, 355)
OVER_POWER_CUT = range(400, 440)
AFTER_POWER_CUT = range(450, 455)


@dataclass(frozen=True)
class Step:
    """One thing to look at."""

    name: str
    look: Callable[[], str]


@dataclass(frozen=True)
class Boot:
    """One run of the machine: what is looked at, and how it ends. Where its first step fails, it is the last one."""

    steps: Sequence[Step]
    end: Sequence[str]


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


def results_arrive() -> str:
    SITE.do("start")
    traffic.subscribe()
    return _sent_and_arrived(BEFORE_ALL)


def is_back_after_kill() -> str:
    """Kill it amid work whose results have nowhere to go but to disk."""
    SITE.do("stop")
    traffic.send(OVER_KILL)
    _wait_for_results(SOME)
    pid = EDGED.wait_ready()
    killed = EDGED.kill()
    EDGED.wait_ready(other_than=pid)
    return f"in {EDGED.ready_since() - killed:.1f} s"


def nothing_lost_over_kill() -> str:
    SITE.do("start")
    return traffic.wait_for(OVER_KILL)


def is_back_after_hang() -> str:
    """Let its model never answer; whether it is the watchdog that ends it, systemd says."""
    _use_stuck_daemon()
    pid = EDGED.wait_ready()
    STUCK_FILE.touch()
    hung = time.monotonic()
    try:
        traffic.send(OVER_HANG)
        until(lambda: int(EDGED.show("MainPID")) != pid, "the hanging process is ended")
    finally:
        STUCK_FILE.unlink()
    EDGED.wait_ready(other_than=pid)
    assert any("Watchdog timeout" in line for line in EDGED.said_of_it()), "it ended, but not by the watchdog"
    return f"in {EDGED.ready_since() - hung:.1f} s"


def nothing_lost_over_hang() -> str:
    return traffic.wait_for(OVER_HANG)


def works_until_reboot() -> str:
    SITE.do("stop")
    traffic.send(OVER_REBOOT)
    return f"({_wait_for_results(SOME)} of {len(OVER_REBOOT)} results made)"


def nothing_lost_over_reboot() -> str:
    SITE.do("start")
    return traffic.wait_for(OVER_REBOOT)


def results_arrive_after_reboot() -> str:
    return _sent_and_arrived(AFTER_REBOOT)


def works_until_power_cut() -> str:
    """Have all results made, and their readings acknowledged: the broker of this machine outlives a cut no better than others."""
    SITE.do("stop")
    before = _made()
    traffic.send(OVER_POWER_CUT)
    _wait_for_results(before + len(OVER_POWER_CUT))
    spool = until(_all_on_disk, "results wait on disk", lambda: _status()["spool"])
    return f"({spool['results']} results wait on disk)"


def nothing_lost_over_power_cut() -> str:
    SITE.do("start")
    return traffic.wait_for(OVER_POWER_CUT)


def results_arrive_after_power_cut() -> str:
    return _sent_and_arrived(AFTER_POWER_CUT)


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


BOOTS = (
    Boot(
        (
            Step("boots to READY", boots_to_ready),
            Step("runs as user edged", runs_as_its_user),
            Step("results arrive", results_arrive),
            Step("edged status answers a member of group edged, and nobody else", answers_its_group),
            Step("edged doctor", doctor_looks),
            Step("is back after kill -9", is_back_after_kill),
            Step("no result is lost over kill -9", nothing_lost_over_kill),
            Step("is back after a hang", is_back_after_hang),
            Step("no result is lost over the hang", nothing_lost_over_hang),
            Step("works until the reboot", works_until_reboot),
        ),
        ("systemctl", "reboot"),
    ),
    Boot(
        (
            Step("boots to READY after the reboot", boots_to_ready),
            Step("no result is lost over the reboot", nothing_lost_over_reboot),
            Step("results arrive after the reboot", results_arrive_after_reboot),
            Step("works until the power cut", works_until_power_cut),
        ),
        ("sh", "-c", "echo b >/proc/sysrq-trigger"),  # at once: nothing is stopped, nothing is written to disk
    ),
    Boot(
        (
            Step("boots to READY after the power cut", boots_to_ready),
            Step("no result is lost over the power cut", nothing_lost_over_power_cut),
            Step("results arrive after the power cut", results_arrive_after_power_cut),
            Step("stops cleanly", stops_cleanly),
            Step("journal lines are JSON with time, level and event", journal_is_structured),
        ),
        ("systemctl", "poweroff"),
    ),
)


def _sent_and_arrived(numbers: range) -> str:
    traffic.send(numbers)
    return traffic.wait_for(numbers)


def _status() -> dict[str, Any]:
    return ask(SOCKET, "status", PATIENCE_S)


def _made() -> int:
    return int(_status()["pipelines"][0]["results"])


def _wait_for_results(count: int) -> int:
    """Wait until the daemon has made so many results since its start; give how many it has made."""
    return until(lambda: made if (made := _made()) >= count else 0, f"{count} results are made")


def _all_on_disk() -> dict[str, Any] | None:
    spool = _status()["spool"]
    return spool if spool["state"] == "disk" and spool["results"] == len(OVER_POWER_CUT) else None


def _use_stuck_daemon() -> None:
    """Until the next boot."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(STUCK)
    command("systemctl", "daemon-reload")
    EDGED.do("restart")


def _as(user: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["runuser", "-u", user, "--", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", timeout=PATIENCE_S
    )


def _is_structured(line: object) -> bool:
    try:
        return isinstance(line, str) and {"time", "level", "event"} <= json.loads(line).keys()
    except (ValueError, AttributeError):
        return False
