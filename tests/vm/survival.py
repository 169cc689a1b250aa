"""Steps that hurt: kill -9, a hang, a reboot, a power cut; after each, every window that was sent has its result.

The broker that takes results is stopped first, but for the hang, so that they have nowhere to go but to disk.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edged.service.ask import ask
from tests.vm import traffic
from tests.vm.unit import EDGED, SITE, command
from tests.waiting import PATIENCE_S, until

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
HOUR = "360000"  # in hundredths of a second

BEFORE_ALL = range(5)
OVER_KILL = range(100, 140)
OVER_HANG = range(200, 210)
OVER_REBOOT = range(300, 340)
AFTER_REBOOT = range(350, 355)
OVER_POWER_CUT = range(400, 440)
AFTER_POWER_CUT = range(450, 455)


def results_arrive() -> str:
    SITE.do("start")
    traffic.subscribe()
    return _sent_and_arrived(BEFORE_ALL)


def is_back_after_kill() -> str:
    """Kill it amid work."""
    SITE.do("stop")
    _work_on(OVER_KILL, SOME)
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
    return f"({_work_on(OVER_REBOOT, SOME)} of {len(OVER_REBOOT)} results made)"


def nothing_lost_over_reboot() -> str:
    SITE.do("start")
    return traffic.wait_for(OVER_REBOOT)


def results_arrive_after_reboot() -> str:
    return _sent_and_arrived(AFTER_REBOOT)


def works_until_power_cut() -> str:
    """Have all results made, and their readings acknowledged: the broker of this machine outlives a cut no better than others."""
    SITE.do("stop")
    _write_only_what_is_synced()
    _work_on(OVER_POWER_CUT, len(OVER_POWER_CUT))
    spool = until(_all_on_disk, "results wait on disk", lambda: _status()["spool"])
    return f"({spool['results']} results wait on disk)"


def nothing_lost_over_power_cut() -> str:
    SITE.do("start")
    return traffic.wait_for(OVER_POWER_CUT)


def results_arrive_after_power_cut() -> str:
    return _sent_and_arrived(AFTER_POWER_CUT)


def _sent_and_arrived(numbers: range) -> str:
    traffic.send(numbers)
    return traffic.wait_for(numbers)


def _status() -> dict[str, Any]:
    return ask(SOCKET, "status", PATIENCE_S)


def _made() -> int:
    return int(_status()["pipelines"][0]["results"])


def _work_on(numbers: range, count: int) -> int:
    """Send windows, and wait until the daemon has made so many results of them; give how many it has made."""
    before = _made()
    traffic.send(numbers)
    return until(lambda: made if (made := _made() - before) >= count else 0, f"{count} results are made")


def _all_on_disk() -> dict[str, Any] | None:
    spool = _status()["spool"]
    return spool if spool["state"] == "disk" and spool["results"] == len(OVER_POWER_CUT) else None


def _use_stuck_daemon() -> None:
    """Until the next boot."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(STUCK)
    command("systemctl", "daemon-reload")
    EDGED.do("restart")


def _write_only_what_is_synced() -> None:
    """Have the kernel write nothing by itself for an hour; else it saves, by luck, what nobody synced."""
    values = {"dirty_ratio": "95", "dirty_background_ratio": "90", "dirty_writeback_centisecs": HOUR, "dirty_expire_centisecs": HOUR}
    for name, value in values.items():
        Path("/proc/sys/vm", name).write_text(value)
