"""The board's wall clock jumps, a year ahead and back to 1970: results go on, ages stay true, the spool works.

The daemon runs in `tests/jumpy.py`, where `time.time` is off by what a file says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from soak.judge import judge
from soak.report import Report
from soak.scene import BROKER, LOSSLESS, Scene
from soak.settle import settle, until_still
from soak.signals import Signal
from tests.conftest import REPO
from tests.daemon import Daemon, Status
from tests.waiting import until

YEAR_S = 365 * 86_400
MESSAGES = 20  # between two jumps


class JumpyDaemon(Daemon):
    """A daemon whose wall clock is set by `jump`."""

    @property
    def offset(self) -> Path:
        """Give the file that says by how many seconds the clock is off."""
        return self.folder / "offset"

    def jump(self, seconds: float) -> None:
        """Set the clock off by so much, from now on."""
        new = self.offset.with_suffix(".new")
        new.write_text(f"{seconds!r}\n")
        new.replace(self.offset)

    def launch(self, stdin: Any = subprocess.DEVNULL, stdout: Any = subprocess.DEVNULL) -> Daemon:
        """Start the process, without waiting for anything."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGED")}
        command = [sys.executable, str(REPO / "tests" / "jumpy.py"), str(self.offset), "run", "--config", str(self.file)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**environment, "PYTHONPATH": str(REPO)},
                stdin=stdin,
                stdout=stdout,
                stderr=log,
                start_new_session=True,
            )
        return self


def clock(scene: Scene, rounds: int = 5) -> Report:
    """Go through all jumps `rounds` times; in each state of the clock messages come, and once a round the broker goes."""
    report = scene.report
    timed = Signal("timed", keys=2, samples=8, hop=8, sizes=(8, 16))
    untimed = Signal("untimed", keys=2, samples=8, hop=8, sizes=(8,), event_time=False)
    signals = [timed, untimed]
    floor, main = scene.broker("floor").start(), scene.broker("main", persistent=True).start()
    ledger = scene.listener(main.port, signals)
    config = BROKER.format(name="floor", port=floor.port) + scene.tables(*signals, broker="floor", more=LOSSLESS)
    daemon = scene.daemon(config, main.port, make=JumpyDaemon)
    assert isinstance(daemon, JumpyDaemon)
    began = time.monotonic()
    daemon.start()
    publisher = scene.publisher(floor.port, signals)
    for _ in range(rounds):
        for words, seconds in (("a year ahead", YEAR_S), ("in 1970", 3600 - time.time()), ("right", 0.0)):
            before = ledger.results
            daemon.jump(seconds)
            publisher.send(MESSAGES)
            until(lambda before=before: ledger.results > before, f"results come with the clock {words}", daemon.tail)  # type: ignore[misc]
            _check(report, daemon.status(), time.monotonic() - began, words)
        main.stop()
        daemon.jump(-YEAR_S)
        publisher.send(MESSAGES)
        daemon.jump(YEAR_S)
        publisher.send(MESSAGES)
        status = until_still(daemon, lambda status: status["spool"]["results"] >= 2 * MESSAGES, "results are spooled over a jump")
        report.expect(status["spool"]["results"] >= 2 * MESSAGES, f"results are not kept over a jump: {status['spool']}")
        _check(report, status, time.monotonic() - began, "two years further, the broker away")
        daemon.jump(0.0)
        main.start()
        status = settle(daemon, ledger, publisher)
    judge(report, status, ledger, publisher)
    report.number(rounds=rounds)
    return report


def _check(report: Report, status: Status, elapsed: float, words: str) -> None:
    """Hold everything that is an age against the time that truly passed."""
    ages = {"uptime": status["uptime_s"]}
    ages |= {f"broker {name}": each["since_s"] for name, each in status["brokers"].items()}
    ages |= {f"last result of {each['name']}": each["last_result"]["age_s"] for each in status["pipelines"] if each["last_result"]}
    ages |= {f"condition {each['code']}": each["for_s"] for each in status["health"]}
    ages["oldest result in the spool"] = status["spool"]["oldest_s"]
    odd = {name: age for name, age in ages.items() if age is not None and not 0 <= age <= elapsed}
    report.expect(not odd, f"with the clock {words}, after {elapsed:.1f} s: {odd}")
    late = [each["name"] for each in status["pipelines"] if each["late"] or (each["latency_ms"]["p99"] or 0) > elapsed * 1000]
    report.expect(not late, f"with the clock {words} results count as late: {late}")
    wrong = [each["code"] for each in status["health"] if each["severity"] == "error" and not each["code"].startswith("broker-")]
    report.expect(not wrong, f"with the clock {words}: {wrong}")
