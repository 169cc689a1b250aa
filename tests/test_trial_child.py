"""The parent of a trial: whatever the child does, it is ended, reaped and judged, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from edged.clock import SystemClock
from edged.engines.choose import RUNTIMES
from edged.errors import BoardError, Cancelled, EdgedError
from edged.fleet import trial
from edged.fleet.trial import Limits, run_trial
from edged.fleet.trial_words import Order
from tests import hostile
from tests.conftest import REPO
from tests.daemon import HAR
from tests.test_trial import HUNG, LIMITS, WALL_S, children, nothing_is_left, processes, refused, request, tried
from tests.waiting import until

__all__ = ["nothing_is_left"]  # for each test here, too


def test_a_cancel_ends_the_child_at_the_next_look(tmp_path: Path) -> None:
    wanted = request(hostile.release(tmp_path / "r", v=hostile.endless()))
    asked = []

    def after_a_while() -> bool:
        asked.append(len(asked) > 40)
        return asked[-1]

    with pytest.raises(Cancelled):
        run_trial(wanted, LIMITS, after_a_while, SystemClock())
    assert asked.count(True) == 1


def test_a_question_that_fails_ends_the_child_too(tmp_path: Path) -> None:
    def fails() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(request(hostile.release(tmp_path / "r", v=hostile.endless())), LIMITS, fails, SystemClock())


def test_a_parent_that_is_killed_takes_the_child_along(tmp_path: Path) -> None:
    wanted = msgspec.json.encode(request(hostile.release(tmp_path / "r", v=hostile.endless()))).decode()
    program = (
        "import sys, msgspec\nfrom edged.clock import SystemClock\nfrom edged.fleet.trial import Limits, TrialRequest, run_trial\n"
        "run_trial(msgspec.json.decode(sys.argv[1], type=TrialRequest), Limits(256, 600, 600.0), lambda: False, SystemClock())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, wanted], cwd=REPO)
    try:
        child = until(lambda: confined_child_of(parent.pid), "the child is confined")
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not alive(child), "the child is gone")


def confined_child_of(pid: int) -> int:
    """Give the number of the one child of a process, once it can be found and has a death signal to lose."""
    return next((child for child, parent, nice in processes() if (parent, nice) == (pid, 19)), 0)  # its first act


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# What a child may do to its parent, with a program in its place; each gets the report's number as its argument.
FLOODS = {
    "report without lines": ("import os, sys\nwhile True: os.write(int(sys.argv[1]), b'x' * 4096)", "trial-crashed"),
    "report of sound lines": (
        'import os, sys\nwhile True: os.write(int(sys.argv[1]), b\'{"type":"At","stage":"talking"}\\n\')',
        "trial-crashed",
    ),
    "report that is no word": ("import os, sys\nos.write(int(sys.argv[1]), b'[' * 5000 + b'\\n')", "trial-crashed"),
    "report of bad numbers": ('import os, sys\nos.write(int(sys.argv[1]), b\'{"type":"Done","p50_ms":-1}\\n\')', "trial-crashed"),
    "standard error": ("import os\nwhile True:\n  try: os.write(2, b'x' * 4096)\n  except OSError: pass", "trial-hung"),
    "standard error, byte by byte": ("import os\nwhile True:\n  try: os.write(2, b'x')\n  except OSError: pass", "trial-hung"),
    "standard output": ("import os\nwhile True: os.write(1, b'x' * 4096)", "trial-hung"),
    "silence": ("import os, sys, time\nos.close(2)\nos.close(int(sys.argv[1]))\ntime.sleep(600)", "trial-hung"),
    "deaf": ("import signal, time\n[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]\ntime.sleep(600)", "trial-hung"),
    "early end": ("raise SystemExit('no libraries')", "trial-no-start"),
    "early crash": ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "trial-no-start"),
    "killed by another": (
        'import os, sys\nos.write(int(sys.argv[1]), b\'{"type":"At","stage":"dying"}\\n\')\nos.kill(os.getpid(), 9)',
        "trial-memory",
    ),
    "orphans": ("import subprocess\nsubprocess.Popen(['sleep', '600'])\nraise SystemExit(3)", "trial-no-start"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_child_that_misbehaves_is_ended_and_judged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, code = FLOODS[name]
    monkeypatch.setattr(trial, "_PROGRAM", ("-c", program))
    limits = Limits(256, 60, 0.7 if code == "trial-hung" else WALL_S)
    error = refused(HAR, limits, runtimes=["litert"])
    assert error.code == code or (code in HUNG and error.code in HUNG), error.text
    assert isinstance(error, BoardError) == (error.code in ("trial-no-start", "trial-memory", "trial-starved"))
    assert len(error.text) < 1000
    if name == "orphans":
        assert "exit code 3" in error.text


def test_a_child_that_cannot_be_started_is_the_boards_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    error = refused(HAR)
    assert (type(error), error.code) == (BoardError, "trial-no-start")


def test_a_runtime_that_dies_when_it_is_imported_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a wheel for another processor does: the first child says what it imports and dies, the second is the real one.
    dies = (
        'import os, sys\nos.write(int(sys.argv[1]), b\'{"type":"At","stage":"importing","runtime":"broken","portable":true}\\n\')\n'
        "os.kill(os.getpid(), 4)"
    )
    programs = iter([("-c", dies), ("-m", "edged.trial")])
    start = trial._start

    def next_program(order: Order) -> object:
        monkeypatch.setattr(trial, "_PROGRAM", next(programs))
        return start(order)

    monkeypatch.setattr(trial, "_start", next_program)
    working = next(name for name, (_, module) in RUNTIMES.items() if find_spec(module))
    report = tried(HAR, runtimes=["broken", working])
    assert report.passed_over == {"broken": "trial-crashed: SIGILL while importing"}
    assert report.engine.startswith(RUNTIMES[working][0])


def test_a_child_killed_from_outside_in_the_middle_is_told_as_a_crash(tmp_path: Path) -> None:
    before = children()

    def kills() -> bool:
        for pid in children() - before:
            os.kill(pid, signal.SIGBUS)
        return False

    with pytest.raises(EdgedError) as caught:
        run_trial(request(hostile.release(tmp_path / "r", v=hostile.endless())), LIMITS, kills, SystemClock())
    assert caught.value.code in ("trial-crashed", "trial-no-start")
    assert "SIGBUS" in caught.value.text


def test_secrets_of_the_environment_do_not_reach_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED__MQTT__MAIN__PASSWORD", "secret")
    monkeypatch.setattr(trial, "_PROGRAM", ("-c", "import os\nraise SystemExit(' '.join(sorted(os.environ)))"))
    names = refused(HAR).text.rpartition(": ")[2].split()
    assert not [name for name in names if "EDGED" in name or "PASSWORD" in name], names


def test_without_a_runtime_the_board_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_installed", lambda text: [])
    error = refused(HAR)
    assert (type(error), error.code, "no runtime is installed" in error.text) == (BoardError, "engine-missing", True), error.text


def test_a_trial_stands_at_the_end_of_every_queue(tmp_path: Path) -> None:
    wanted = request(hostile.release(tmp_path / "r", v=hostile.endless()))
    before, seen = children(), {}

    def looks() -> bool:
        for pid, _, nice in processes():
            if pid in children() - before and nice == 19 and (group := told_by(pid, "autogroup")).endswith("nice 19"):
                seen.update(nice=nice, group=group, oom=told_by(pid, "oom_score_adj"))
        return seen.get("oom") == "1000"

    if not Path("/proc/self/autogroup").exists():
        pytest.skip("needs a kernel that groups processes by session (CONFIG_SCHED_AUTOGROUP)")
    with pytest.raises(Cancelled):
        run_trial(wanted, LIMITS, looks, SystemClock())


def told_by(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text().strip()
    except OSError:
        return ""


def test_a_board_too_busy_for_a_trial_is_not_the_publishers_fault(tmp_path: Path) -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("needs a kernel that counts the time in the queue (CONFIG_SCHED_INFO)")
    folder = hostile.release(tmp_path / "r", v=hostile.endless())
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})  # this thread's, which the children inherit
    # Each in a session of its own, as programs of a board are: what tests beside this one do takes no share from them.
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(4)]
    try:
        error = refused(folder, Limits(256, 60, 2.0))
    finally:
        for each in busy:
            each.kill()
            each.wait()
        os.sched_setaffinity(0, mine)
    assert (type(error), error.code) == (BoardError, "trial-starved"), error.text
