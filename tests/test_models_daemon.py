"""`edged models` with a daemon: a real one, and one that says what a test wants to see shown."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from edged.cli import settings as cli_settings
from edged.cli.main import main
from edged.cli.models import following
from edged.cli.models.telling import Telling
from edged.clock import SystemClock
from edged.errors import BoardError, Cancelled, OperatorError
from edged.models.edgedpack import SUFFIX
from edged.models.manifest import Release
from edged.models.packed import parse_packed
from edged.models.source import FolderSource
from edged.packing.into import pack_into
from edged.service.control import ControlServer
from edged.service.ports import LonePorts
from edged.service.request import Request
from edged.service.snapshot import PipelineStatus, Snapshot, UpdateStatus
from tests.conftest import REPO
from tests.daemon import Daemon, edged
from tests.rollouts import numbered, until_state
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

FOLLOWED = """
[[pipelines]]
name = "walk"
model = "har"
source = { type = "file", path = "in.jsonl", follow = true }
decoder = { type = "json", channels = ["x", "y", "z"], time = "ts", time_unit = "ms" }
outputs = [{ type = "file", path = "out.jsonl" }]
"""


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give packed releases of har: folders `1` and `2`."""
    folder = tmp_path_factory.mktemp("releases")
    for number in (1, 2):
        numbered(folder / str(number), number)
    return folder


# A real daemon.


@pytest.fixture
def daemon(make_daemon: MakeDaemon, tmp_path: Path) -> Daemon:
    daemon = make_daemon(FOLLOWED)
    (daemon.folder / "in.jsonl").touch()
    return daemon.launch()


def models(daemon: Daemon, *args: str) -> tuple[int, str, str]:
    """Run `edged models …` beside the daemon."""
    daemon.until(lambda status: status["state"] == "running", "it runs")
    done = edged("models", *args, "--config", str(daemon.file), cwd=daemon.folder)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def feed(daemon: Daemon, windows: int, start: int = 0) -> None:
    """Append so many windows of readings."""
    first, last = start * 130, 260 + (start + windows) * 130
    with (daemon.folder / "in.jsonl").open("a") as file:
        for i in range(first, last):
            file.write(json.dumps({"ts": 1_700_000_000_000 + i * 38, "x": 1, "y": 2, "z": i % 7}) + "\n")


def test_a_release_comes_into_service_is_committed_replaced_and_rolled_back(daemon: Daemon, releases: Path) -> None:
    code, out, err = models(daemon, "install", str(releases / "1"), "--windows", "2", "--seconds", "0")
    assert (code, out.startswith("har 1 serves, and is being watched for 2 windows")) == (0, True), err
    assert re.search(r"^har 1: \w+.*\(attempt 1 of 3\)", err)
    feed(daemon, 10)
    until_state(daemon, "committed", 1)
    code, out, _ = models(daemon, "install", str(releases / "2"), "--windows", "1000")
    assert (code, out.startswith("har 2 serves")) == (0, True)
    code, out, _ = models(daemon, "rollback", "har")
    assert (code, out) == (0, "har 1 serves again\n")
    assert daemon.pipeline("walk")["release"] == 1
    code, _, err = models(daemon, "rollback", "har")
    assert (code, "[nothing-to-roll-back]" in err) == (3, True)


def test_install_waits_until_it_is_committed_where_that_is_asked_for(daemon: Daemon, releases: Path) -> None:
    feed(daemon, 10)
    code, out, err = models(daemon, "install", str(releases / "1"), "--wait", "--windows", "2", "--seconds", "0")
    assert (code, out) == (0, "har 1 is committed\n"), err


def test_a_pack_is_handed_over_as_one_file(daemon: Daemon, releases: Path, tmp_path: Path) -> None:
    path = tmp_path / f"har{SUFFIX}"
    pack_into(FolderSource(releases / "1"), parse_packed((releases / "1" / "release.json").read_bytes(), ""), path)
    code, out, err = models(daemon, "install", str(path), "--json")
    assert code == 0, err
    assert json.loads(out)["state"] == "confirm"


def test_list_says_what_serves_and_why_the_others_do_not(daemon: Daemon, releases: Path) -> None:
    for number in ("1", "2"):
        assert models(daemon, "install", str(releases / number), "--windows", "1000")[0] == 0
    code, out, _ = models(daemon, "list")
    assert code == 0
    assert "runs in walk: fp32 on" in out
    assert "it has still to prove itself" in out
    model = json.loads(models(daemon, "list", "--json")[1])["models"][0]
    assert (model["active"], model["running"][0]["release"]) == (2, 2)


def test_what_is_refused_has_the_same_code_with_a_daemon_as_without(daemon: Daemon, releases: Path) -> None:
    assert models(daemon, "install", str(releases / "1"))[0] == 0
    for args, code in (
        (("remove", "har", "1"), "release-active"),
        (("activate", "har", "1"), "serves-already"),
        (("activate", "har", "9"), "no-such-release"),
        (("cancel", "pump"), "nothing-to-cancel"),
    ):
        exit_code, _, err = models(daemon, *args)
        assert (exit_code, f"[{code}]" in err) == (3, True), (args, err)
    assert models(daemon, "install", str(releases / "1"))[:2] == (0, "har 1 serves already\n")
    assert models(daemon, "pin", "har", "1")[:2] == (0, "har 1 is pinned\n")


def test_cancelling_a_release_that_is_watched_takes_it_back(daemon: Daemon, releases: Path) -> None:
    assert models(daemon, "install", str(releases / "1"), "--windows", "1000")[0] == 0
    code, out, _ = models(daemon, "cancel", "har")
    assert (code, out) == (0, "the update of har ends; `edged status` shows how\n")
    assert until_state(daemon, "rolled_back", 1)["code"] == "cancelled"


def test_what_was_taken_in_without_a_daemon_is_served_and_committed_by_the_next_one(make_daemon: MakeDaemon, releases: Path) -> None:
    daemon = make_daemon(FOLLOWED)
    (daemon.folder / "in.jsonl").touch()
    done = edged(
        "models", "install", str(releases / "1"), "--windows", "2", "--seconds", "0", "--config", str(daemon.file), cwd=daemon.folder
    )
    assert (done.returncode, b"from its next start on" in done.stdout) == (0, True), done.stderr
    feed(daemon, 10)
    daemon.launch()
    until_state(daemon, "committed", 1)


# One that says what a test wants.


class Said:
    """A daemon whose updates go as `course` says: each status takes the next, the last one stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.course: list[UpdateStatus] = []
        self.pipelines = [PipelineStatus("walk", "running", "har", 15, variant="fp32")]
        self.asked: list[tuple[str, dict[str, Any], list[bytes]]] = []
        self.refuse: Exception | None = None
        ops = {"status": self._status} | dict.fromkeys(("install", "activate", "rollback", "cancel", "remove", "pin"), self._take)
        self._server = ControlServer(path, ops, SystemClock())
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _status(self, request: Request) -> Snapshot:
        updates = [self.course.pop(0) if len(self.course) > 1 else self.course[0]] if self.course and self.asked else []
        return Snapshot(pipelines=self.pipelines, updates=updates)

    def _take(self, request: Request) -> dict[str, Any]:
        contents = []
        for each in request.take_files():
            with os.fdopen(each, "rb") as file:
                contents.append(file.read())
        self.asked.append((request.op, request.args, contents))
        if self.refuse:
            raise self.refuse
        if request.op == "cancel":
            self.course = [har("rejected", code="cancelled", text="somebody cancelled it", family="operator")]
        return {"model": "har", "release": 15, "state": "evaluate"}

    def _run(self) -> None:
        while not self._stop.is_set():
            self._server.poll(0.01)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()


def har(state: str, **more: Any) -> UpdateStatus:
    return UpdateStatus("har", 15, "1.5.0", state, **{"stage": state, "attempt": 1, "attempts": 3, "since_s": 0.0, **more})


def fetching(done: int, **more: Any) -> UpdateStatus:
    return har("fetch", stage=f"fetch {done} of 100 MiB", bytes_done=done << 20, bytes_total=100 << 20, since_s=2.0, **more)


SERVES = har("confirm", windows_needed=100, seconds_left=60.0, waits_for="0 of 100 windows")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Said]:
    monkeypatch.setattr(following, "POLL_S", 0.0)
    with tempfile.TemporaryDirectory() as folder:
        said = Said(Path(folder, "s"))
        yield said
        said.close()


@pytest.fixture
def run(said: Said, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["models", *args, "--socket", str(said.path)])
        return code, *capsys.readouterr()

    return call


Run = Callable[..., tuple[int, str, str]]


def test_the_daemon_gets_open_files_and_the_policy_and_needs_no_path(said: Said, run: Run, releases: Path) -> None:
    said.course = [SERVES]
    code, out, _ = run("install", str(releases / "1"), "--shadow", "5", "--windows", "7", "--seconds", "1.5")
    assert (code, out) == (0, "har 15 serves, and is being watched for 100 windows and 60 s: `edged status` shows it\n")
    op, args, contents = said.asked[0]
    assert (op, args["policy"]) == ("install", {"windows": 7, "seconds": 1.5, "shadow": 5})
    assert contents == [(releases / "1" / name).read_bytes() for name in args["names"]]


def test_elsewhere_than_on_a_terminal_each_stage_and_each_tenth_is_a_line(said: Said, run: Run, releases: Path) -> None:
    said.course = [har("evaluate"), *(fetching(done, left_s=3.2) for done in range(0, 100, 2)), har("verify"), har("trial"), SERVES]
    code, _, err = run("install", str(releases / "1"))
    lines = err.splitlines()
    assert code == 0
    assert lines[1] == "har 15: fetch 0 of 100 MiB, 3.2 s left (attempt 1 of 3)"
    assert lines[2] == "har 15: fetch 10 of 100 MiB, 3.2 s left (attempt 1 of 3), 5.0 MiB/s"
    assert len(lines) == 1 + 10 + 2


def test_a_wait_says_for_what_and_goes_on(said: Said, run: Run, releases: Path) -> None:
    blocked = har("wait", blocked_by="har 15 needs 300 MiB, and 120 are free", retry_in_s=20.0, code="no-space")
    said.course = [blocked, blocked, har("fetch"), SERVES]
    code, _, err = run("install", str(releases / "1"))
    assert code == 0
    assert err.splitlines()[0] == "har 15: waits: har 15 needs 300 MiB, and 120 are free; again in 20 s (attempt 1 of 3)"


@pytest.mark.parametrize(
    ("end", "exit_code", "code"),
    [
        (
            har("rejected", family="publisher", code="golden-differs", text="har 15: 3 goldens differ", hint="pack it again"),
            1,
            "golden-differs",
        ),
        (har("rejected", family="board", code="does-not-fit", text="too large"), 7, "does-not-fit"),
        (har("rejected", family="board", code="engine-missing", text="no runtime"), 7, "engine-missing"),
        (har("rejected", family="operator", code="channels-do-not-match", text="x, y"), 3, "channels-do-not-match"),
        (har("rejected", family="operator", code="cancelled", text="somebody cancelled it"), 1, "cancelled"),
        (har("rolled_back", family="publisher", code="latency-breach", text="31 of 400 late"), 1, "latency-breach"),
        (har("rejected", family="from-the-future", code="odd", text="?"), 1, "odd"),
        (har("superseded"), 3, "superseded"),
    ],
)
def test_an_update_that_comes_to_nothing_is_the_error_that_ended_it(
    said: Said, run: Run, releases: Path, end: UpdateStatus, exit_code: int, code: str
) -> None:
    said.course = [har("trial"), end]
    got, out, err = run("install", str(releases / "1"), "--wait", "--json")
    error = json.loads(out)["error"]
    assert (got, error["code"]) == (exit_code, code)
    assert f"[{code}]" in err
    assert "har 15: 3" not in err  # the release is named once


def test_an_older_end_of_the_same_release_is_not_taken_for_this_one(said: Said, run: Run, releases: Path) -> None:
    before = har("rejected", code="cancelled", text="somebody cancelled it", family="operator", since_s=1e6)
    said.course = [before, before, har("trial"), SERVES]
    assert run("install", str(releases / "1"))[0] == 0


def test_another_update_that_takes_its_place_is_said(said: Said, run: Run, releases: Path) -> None:
    said.course = [har("trial"), UpdateStatus("har", 16, state="trial")]
    code, _, err = run("install", str(releases / "1"))
    assert (code, "[superseded]" in err) == (3, True)


def test_a_release_that_no_pipeline_runs_is_said_to_be_so(said: Said, run: Run, releases: Path) -> None:
    said.course, said.pipelines = [SERVES], []
    assert run("install", str(releases / "1"))[1] == "har 15 is active, but no pipeline runs har: it is committed when one has\n"


@pytest.mark.parametrize("error", [OperatorError("serves-already", "har 15 serves already"), BoardError("does-not-fit", "too large")])
def test_what_is_refused_at_once_is_the_daemons_error(said: Said, run: Run, releases: Path, error: Any) -> None:
    said.refuse = error
    code, _, err = run("install", str(releases / "1"))
    assert (code, f"[{error.code}]" in err) == (7 if error.code == "does-not-fit" else 3, True)


def test_text_of_a_daemon_does_not_steer_the_terminal(said: Said, run: Run, releases: Path) -> None:
    odd = "\x1b[2J\x07"
    said.course = [
        har("wait", blocked_by=odd, stage=odd),
        har("trial", stage=odd),
        har("rejected", family=odd, code=odd, text=odd, hint=odd),
    ]
    code, out, err = run("install", str(releases / "1"))
    assert code == 1
    assert "\x1b" not in out + err


def test_a_daemon_that_is_stuck_is_an_error_and_nothing_is_done_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], releases: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli_settings, "ANSWER_S", 0.05)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "edged.toml")
        file.write_text(f'[device]\nstate_dir = "{tmp_path / "state"}"\n[control]\nsocket = "{folder}/s"\n{FOLLOWED}')
        server = ControlServer(Path(folder, "s"), {}, SystemClock())
        for args in (("install", str(releases / "1")), ("list",)):
            assert main(["models", *args, "--config", str(file)]) == 4
            assert "[daemon-stuck]" in capsys.readouterr().err
        server.close()
    assert not (tmp_path / "state").exists()


def test_a_socket_that_was_named_and_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str], releases: Path) -> None:
    assert main(["models", "install", str(releases / "1"), "--socket", "/nowhere/s"]) == 4
    assert main(["models", "list", "--socket", "/nowhere/s"]) == 4


# A person at a terminal.


class Terminal:
    """`edged models …` on a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "edged.cli.main", "models", *args]
        env = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONUTF8": "1", "TERM": "xterm"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)
        self.seen = ""

    def read_until(self, text: str) -> None:
        while text not in self.seen:
            assert self._read(), f"ended before {text!r}: {self.seen}"

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(PATIENCE_S)

    def _read(self) -> bool:
        try:
            part = os.read(self._master, 65536)
        except OSError:
            return False
        self.seen += part.decode("utf-8", "replace")
        return bool(part)


def test_on_a_terminal_one_line_is_written_over(said: Said, releases: Path) -> None:
    said.course = [har("trial")]
    terminal = Terminal("install", str(releases / "1"), "--socket", str(said.path))
    terminal.read_until("\rhar 15: trial (attempt 1 of 3)\x1b[K")
    said.course = [SERVES]
    assert terminal.end() == 0
    assert terminal.seen.endswith("\r\x1b[Khar 15 serves, and is being watched for 100 windows and 60 s: `edged status` shows it\r\n")


def test_ctrl_c_cancels_what_does_not_serve_yet_and_says_so(said: Said, releases: Path) -> None:
    said.course = [har("trial")]
    terminal = Terminal("install", str(releases / "1"), "--socket", str(said.path))
    terminal.read_until("trial")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert [each[0] for each in said.asked] == ["install", "cancel"]
    assert "har 15: somebody cancelled it" in terminal.seen


def test_ctrl_c_only_stops_watching_what_serves(said: Said, releases: Path) -> None:
    said.course = [SERVES]
    terminal = Terminal("install", str(releases / "1"), "--wait", "--socket", str(said.path))
    terminal.read_until("serves, watched")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert [each[0] for each in said.asked] == ["install"]
    assert "no longer watching: har 15 serves" in terminal.seen


def test_a_daemon_that_restarts_meanwhile_is_waited_for(releases: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = Said(Path(folder, "s"))
        first.course = [har("trial")]
        terminal = Terminal("install", str(releases / "1"), "--socket", str(first.path))
        terminal.read_until("trial")
        first.close()
        terminal.read_until("waiting for it")
        second = Said(first.path)
        second.asked, second.course = first.asked, [SERVES]
        assert terminal.end() == 0
        second.close()


def test_ctrl_c_without_a_daemon_ends_the_trial_and_leaves_the_release_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], releases: Path, tmp_path: Path
) -> None:
    def endless(self: LonePorts, release: Release, cancelled: Callable[[], bool]) -> dict[str, Any]:
        until(cancelled, "it is cancelled")
        raise Cancelled

    def interrupted(self: Telling, update: UpdateStatus) -> None:
        if update.state == "trial":
            monkeypatch.setattr(Telling, "show", lambda self, update: None)
            raise KeyboardInterrupt

    monkeypatch.setattr(LonePorts, "trial", endless)
    monkeypatch.setattr(Telling, "show", interrupted)
    state = ["--state-dir", str(tmp_path / "state")]
    assert main(["models", "install", str(releases / "1"), *state]) == 130
    assert "har 1: somebody cancelled it" in capsys.readouterr().err
    assert main(["models", "list", *state, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == []
    assert list((tmp_path / "state" / "models" / "blobs" / "sha256").iterdir()) == []
