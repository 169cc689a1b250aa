"""The long proofs in a short form; and that they would find what they look for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edged.clock import iso
from soak import __main__ as command
from soak.balance import Look, between, totals
from soak.clock import clock
from soak.judge import judge
from soak.lacks import Kill
from soak.ledger import Ledger
from soak.measure import Course
from soak.mixed import mixed
from soak.publisher import Publisher, Sent
from soak.report import Report
from soak.scene import Scene
from soak.signals import START_MS, Signal
from tests.conftest import REPO
from tests.waiting import PATIENCE_S

WHOLE = Signal("whole", keys=1, samples=4, hop=4, sizes=(8,))
NOTHING_LET_GO: dict[str, Any] = {"pipelines": [], "spool": {"dropped": {}}}
SPANNING = Signal("spanning", keys=1, samples=4, hop=4, sizes=(3,))


def test_a_wall_clock_that_jumps_stops_nothing_and_ages_stay_true(tmp_path: Path) -> None:
    with Scene("clock", tmp_path) as scene:
        assert clock(scene, rounds=1).faults == []


def test_a_kill_a_restart_and_a_lost_broker_lose_nothing_and_the_counters_add_up(tmp_path: Path) -> None:
    with Scene("soak", tmp_path) as scene:
        assert mixed(scene, seconds=3.0, round_s=1.0).faults == []


# -- what the judge finds ---------------------------------------------------------------------


class Stub(Publisher):
    """A publisher that published these readings, one message a second from second 0 on, and has no broker."""

    def __init__(self, signal: Signal, readings: int) -> None:
        self.sent = {signal.name: [sent := Sent()]}
        for second in range(readings // signal.sizes[0]):
            sent.add(signal.sizes[0])
            sent._times[-1] = float(second)


def result(signal: Signal, first: int, **changes: Any) -> bytes:
    times = [iso(int(START_MS + reading * 1000 / signal.rate_hz) * 1_000_000) for reading in (first, first + signal.samples - 1)]
    window = {"start": times[0], "end": times[1], "samples": signal.samples}
    right = {"id": f"id{first}", "pipeline": signal.name, "key": "key=0", "window": window, "output": signal.output(0, first)}
    return msgspec.json.encode({**right, **changes})


def faults(signal: Signal, firsts: list[int], readings: int, kills: list[Kill] | None = None, *more: bytes) -> list[str]:
    """Give what the judge says when the windows at `firsts` came, each a second after its last reading, then `more`."""
    ledger = Ledger([signal])
    for first in firsts:
        ledger.note(result(signal, first), (first + signal.samples) / signal.sizes[0] + 1)
    for payload in more:
        ledger.note(payload, 1000.0)
    report = Report("test", 1, Path(), lambda _: None)
    judge(report, NOTHING_LET_GO, ledger, Stub(signal, readings), kills or [])
    return report.faults


def test_all_windows_in_their_order_are_without_fault_though_some_came_twice() -> None:
    assert faults(WHOLE, [0, 4, 8, 4, 12], 16) == []


def test_windows_that_lack_are_named() -> None:
    assert faults(WHOLE, [0, 12], 16) == ["never came: whole/0: 2 windows at readings 4 to 8"]


def test_a_duplicate_with_another_id_is_a_fault() -> None:
    (fault,) = faults(WHOLE, [0, 4], 8, [], result(WHOLE, 4, id="other"))
    assert fault.startswith("wrong results: whole/0: the window at reading 4 came again with another id or output")


def test_an_output_that_is_not_that_of_its_readings_is_a_fault() -> None:
    (fault,) = faults(WHOLE, [0], 8, [], result(WHOLE, 4, output={"values": [1.0] * 4}))
    assert fault.startswith("wrong results: whole/0: the window at reading 4 says")


def test_windows_out_of_order_are_a_fault() -> None:
    assert faults(WHOLE, [0, 8, 4, 12], 16) == ["out of order: whole/0: the window at reading 4 came after the one at 8"]


@pytest.mark.parametrize(
    ("kills", "found"),
    [
        ([Kill(4.5, 4.6)], []),  # readings 12, 13 and 14 went out at 4; the window at 15 came later
        ([], ["never came: spanning/0: windows between those at reading 8 and 15"]),
        ([Kill(1.5, 1.6)], ["never came: spanning/0: windows between those at reading 8 and 15"]),  # they were not published yet
        ([Kill(30.0, 30.1)], ["never came: spanning/0: windows between those at reading 8 and 15"]),  # the next had come
    ],
    ids=["a kill in it", "no kill", "a kill before it", "a kill after it"],
)
def test_an_unfinished_window_may_lack_at_a_kill_only(kills: list[Kill], found: list[str]) -> None:
    assert faults(SPANNING, [0, 4, 8, 15, 19, 23], 27, kills) == found


def test_one_kill_does_not_explain_more_than_one_unfinished_window() -> None:
    kill, other = Kill(5.5, 5.6), Kill(5.7, 5.8)
    firsts = [0, 4, 8, 18, 22]  # readings 12 to 17 are in no window
    assert faults(SPANNING, firsts, 27, [kill]) != []
    assert faults(SPANNING, firsts, 27, [kill, other]) == []


def test_windows_that_begin_elsewhere_after_a_kill_are_no_hole() -> None:
    assert faults(SPANNING, [0, 4, 6, 10, 14, 18, 22], 27, [Kill(3.0, 3.1)]) == []


# -- what the balance finds -------------------------------------------------------------------

CLEAN: dict[str, Any] = {"name": "whole", "messages": 2, "readings": 16, "windows": 4, "results": 4, "rejected": {}, "dropped": {}}


def unbalanced(**changes: Any) -> list[str]:
    """Give what does not add up where two messages were published and four results heard, and the counters say CLEAN but for changes."""
    now = {"pipelines": [{**CLEAN, **changes}]}
    then = {"pipelines": [{**CLEAN, **dict.fromkeys(("messages", "readings", "windows", "results"), 0)}]}
    before, after = (Look(status, {"whole": n}, {"whole": 0}, {"whole": 2 * n}) for status, n in ((then, 0), (now, 2)))
    return [*totals(WHOLE, now), *between(WHOLE, before, after)]


def test_counters_that_add_up_are_without_fault() -> None:
    assert unbalanced() == []
    assert unbalanced(messages=1, dropped={"queue-full": 1}) == []


@pytest.mark.parametrize(
    "changes",
    [{"messages": 1}, {"windows": 5}, {"results": 3}, {"readings": 24}, {"rejected": {"wrong-length": 1}}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_counter_that_is_off_is_found(changes: dict[str, Any]) -> None:
    assert unbalanced(**changes) != []


def test_growth_is_the_rise_of_a_straight_line_after_the_warm_up() -> None:
    course = Course(0)
    course.seconds = [float(second) for second in range(0, 3600, 10)]
    course.pss_mib = [(30.0 if second < 600 else 50.0) + second / 3600 for second in course.seconds]
    assert course.slope == pytest.approx(1.0)
    assert course.growth_mib == pytest.approx(0.75, rel=0.01)


# -- the command ------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, play: Callable[[Scene], Report], *args: str) -> int:
    """Run the command line with one scenario of the test's own."""
    monkeypatch.setattr(command, "PROOFS", {"own": [play]})
    monkeypatch.setattr(sys, "argv", ["soak", *args])
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return command.main()


def holds(scene: Scene) -> Report:
    scene.report.number(windows=7)
    return scene.report


def lacks(scene: Scene) -> Report:
    scene.report.fault("never came: whole/0: the window at reading 8")
    return scene.report


def breaks(scene: Scene) -> Report:
    raise AssertionError("the daemon ended with 1")


def test_a_scenario_that_holds_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, holds, "own") == 0
    assert "1 of 1 scenarios hold" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("play", "text"), [(lacks, "window at reading 8"), (breaks, "the daemon ended with 1")])
def test_a_scenario_that_does_not_hold_says_what_lacks_and_where_its_logs_are(
    play: Callable[[Scene], Report], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, play, "own", "--seed", "5") == 1
    said = capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    assert f"own, seed 5, does not hold; logs in {folder}" in said
    assert text in said


def test_json_on_standard_output_is_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, lacks, "own", "--json") == 1
    out = json.loads(capsys.readouterr().out)
    assert out["code"] == 1
    assert [(each["scenario"], each["holds"], len(each["faults"])) for each in out["scenarios"]] == [("own", False, 1)]


def test_a_scenario_that_there_is_not_is_named_with_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path, holds, "none")
    assert ended.value.code == 2
    assert "no such scenario: none; there is own, soak" in capsys.readouterr().err


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TMPDIR": str(tmp_path)}
    arguments = [sys.executable, "-m", "soak", "kill"]
    with subprocess.Popen(arguments, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as soak:
        assert soak.stdout is not None
        for line in soak.stdout:
            if "kills after" in line:
                break
        assert processes_of(tmp_path)
        os.killpg(soak.pid, signal.SIGINT)  # as a terminal does: the broker gets it too
        said = soak.stdout.read()
        assert soak.wait(PATIENCE_S) == 130
    assert "interrupted in kill; logs in" in said
    assert processes_of(tmp_path) == []


def processes_of(folder: Path) -> list[str]:
    """Give the command lines of all processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(folder) in line]
