"""Run all scenarios, or those named: `python -m soak [--seconds N | --minutes N | --hours N] [--seed N] [--json] [SCENARIO…]`.

Each proves what the first line of its module says. They run one after the other in their long
form; `soak` comes last and takes what is left of the time. Where `soak` is not named, those
that are named begin again, with the next seed, until the time is over or one does not hold.
What does not hold leaves its folder, with the logs of all that took part in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from soak.backlog import backlog
from soak.clock import clock
from soak.cut import cut
from soak.kill import kill
from soak.mixed import mixed
from soak.mute import mute
from soak.outage import outage
from soak.overload import overload
from soak.report import Report
from soak.scene import Scene

Play = Callable[[Scene], Report]

PROOFS: dict[str, list[Play]] = {
    "kill": [kill],
    "backlog": [backlog],
    "outage": [outage, partial(outage, results=20_000, kills=True)],
    "mute": [mute],
    "cut": [cut],
    "clock": [clock],
    "overload": [overload],
}
SOAK = "soak"
SOAK_S = 300.0  # where no time is given
LEAST_S = 60.0  # where the others took all of it
FAILED, INTERRUPTED = 1, 130


def main() -> int:
    """Run what the command line names; give the exit code: 0 all hold, 1 something does not, 130 interrupted."""
    asked = _arguments()
    reports: list[Report] = []
    say = partial(_say, time.monotonic(), sys.stderr if asked.json else sys.stdout)
    code = 0
    try:
        for name, play, seed in _plays(asked.scenarios, asked.seconds, asked.seed):
            _play(name, play, seed, say, reports)
            if reports[-1].faults:
                code = FAILED
                if seed != asked.seed:
                    break
    except KeyboardInterrupt:
        code = INTERRUPTED
    except pytest.skip.Exception as missing:
        say(str(missing))
        code = FAILED
    _conclude(reports, code, say)
    if asked.json:
        print(json.dumps({"code": code, "scenarios": [report.as_dict() for report in reports]}, indent=2))
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m soak", description="Long proofs with a real broker and a real daemon.")
    known = [*PROOFS, SOAK]
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(known)}; without a name, all of them")
    times = parser.add_mutually_exclusive_group()
    for unit, seconds in (("seconds", 1.0), ("minutes", 60.0), ("hours", 3600.0)):
        times.add_argument(f"--{unit}", dest="seconds", metavar="N", type=lambda text, unit_s=seconds: float(text) * unit_s)  # type: ignore[misc]
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="what is random follows from it (1)")
    parser.add_argument("--json", action="store_true", help="all reports as JSON on standard output, progress on standard error")
    asked = parser.parse_args()
    if unknown := [name for name in asked.scenarios if name not in known]:
        parser.error(f"no such scenario: {', '.join(unknown)}; there is {', '.join(known)}")
    asked.scenarios = asked.scenarios or known
    return asked


def _plays(names: list[str], seconds: float | None, seed: int) -> Iterator[tuple[str, Play, int]]:
    """Give what to play next, until the time is over."""
    end = time.monotonic() + (seconds or 0.0)
    while True:
        for name in PROOFS:
            if name in names:
                yield from ((name, play, seed) for play in PROOFS[name])
        left = end - time.monotonic()
        if SOAK in names:
            yield SOAK, partial(mixed, seconds=SOAK_S if seconds is None else max(LEAST_S, left)), seed
            return
        if left <= 0:
            return
        seed += 1


def _play(name: str, play: Play, seed: int, say: Callable[[str], None], reports: list[Report]) -> None:
    """Play one scenario in a folder of its own, which stays where it does not hold."""
    folder = Path(tempfile.mkdtemp(prefix=f"edged-{name}-"))
    began = time.monotonic()
    with Scene(name, folder, seed, say) as scene:
        reports.append(scene.report)
        try:
            play(scene)
        except AssertionError as error:  # what was waited for did not come
            scene.report.fault(str(error))
        except Exception:
            scene.report.fault(traceback.format_exc())
    scene.report.number(seconds=round(time.monotonic() - began, 1))
    if not scene.report.faults:
        shutil.rmtree(folder)


def _conclude(reports: list[Report], code: int, say: Callable[[str], None]) -> None:
    failed = [report for report in reports if report.faults]
    for report in failed:
        say(f"{report.scenario}, seed {report.seed}, does not hold; logs in {report.folder}")
        for fault in report.faults:
            say(f"  {fault}")
    if code == INTERRUPTED:
        say("interrupted" + (f" in {reports[-1].scenario}; logs in {reports[-1].folder}" if reports else ""))
    say(f"{len(reports) - len(failed) - (code == INTERRUPTED and bool(reports))} of {len(reports)} scenarios hold")


def _say(began: float, file: object, text: str) -> None:
    print(f"{time.monotonic() - began:8.1f} s  {text}", file=file, flush=True)  # type: ignore[call-overload]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as at Ctrl-C: no broker and no daemon stays behind
    sys.exit(main())
