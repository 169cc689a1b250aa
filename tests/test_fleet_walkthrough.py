"""docs/fleet.md does what it says: its commands, as a new fleet manager types them, with a broker, a publisher and three boards."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.broker import _PLACES, _program, free_port
from tests.conftest import REPO
from tests.daemon import codes
from tests.waiting import PATIENCE_S, until

pytest.importorskip("tuf", reason="needs the package tuf")
pytest.importorskip("tflite", reason="needs the package tflite, the official schema's writer")

_PART = re.compile(
    r"^#+ (?P<heading>[^\n]+)$"
    r"|^<!-- (?:run(?:: (?P<code>\d+))?|(?P<start>start)|file: (?P<file>[\w./-]+)) -->\n```(?P<kind>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MIB = 1 << 20
VARIANTS = {"zero": "small", "pi-4": "medium", "orin": "large"}
PORT = "1883"


class Walk:
    """A folder that looks like the checkout, and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = str(free_port())
        self._started: list[tuple[str, subprocess.Popen[bytes]]] = []
        for name in _tracked_names():
            (folder / name).symlink_to(REPO / name)
        _link_environment(folder / ".venv")
        environ = {key: value for key, value in os.environ.items() if not key.startswith("EDGED")}
        own = {"HOME": "home", "XDG_RUNTIME_DIR": "runtime", "XDG_STATE_HOME": "state"}
        self._environ = environ | {key: str(folder / name) for key, name in own.items()} | {"PATH": _PLACES}

    def take(self, part: re.Match[str]) -> None:
        """Do what a marked block is for."""
        body = part["body"].replace(PORT, self.port)
        if part["file"]:
            if part["file"].endswith("mosquitto.conf"):  # else it gives root away, and may not read the folders above a test
                body += f"user {getpass.getuser()}\n"
            (self.folder / part["file"]).write_text(body, encoding="utf-8")
        elif part["start"]:
            for line in body.splitlines():
                self._start(line)
        else:
            self._run(body, int(part["code"] or 0))

    def edged(self, *args: str) -> str:
        """Run a command that is not on the page; give what it prints, whatever its exit code says of the board."""
        command = [str(self.folder / ".venv" / "bin" / "edged"), *args]
        return subprocess.run(command, cwd=self.folder, env=self._environ, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S).stdout

    def status(self, board: str) -> dict[str, Any]:
        """Give what `edged status --json` says on a board; empty while its daemon does not answer."""
        found: dict[str, Any] = json.loads(self.edged("status", "--config", f"fleet-example/{board}.toml", "--json"))
        return {} if "error" in found else found

    def end(self) -> None:
        """Press Ctrl-C in each terminal, the last one first; all have to end well."""
        faults = []
        for line, process in reversed(self._started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                if process.wait(PATIENCE_S) != 0:
                    faults.append(f"{line}: exit code {process.returncode}")
            except subprocess.TimeoutExpired:
                faults.append(f"{line}: Ctrl-C does not end it")
        self.kill()
        assert faults == [], self.logs()

    def kill(self) -> None:
        """End whatever is left."""
        for _, process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE_S)
        self._started.clear()

    def logs(self) -> str:
        """Give the end of what each terminal shows."""
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in sorted(self.folder.glob("terminal-*")))

    def _start(self, line: str) -> None:
        with (self.folder / f"terminal-{len(self._started)}").open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", line],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append((line, process))

    def _run(self, commands: str, code: int) -> None:
        bash = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(bash, cwd=self.folder, env=self._environ, capture_output=True, text=True, timeout=2 * PATIENCE_S)
        assert done.returncode == code, f"{commands}\n{done.stdout}{done.stderr}\n{self.logs()}"


def _tracked_names() -> set[str]:
    return {path.name for path in REPO.iterdir() if not path.name.startswith((".", "fleet-example")) and path.name != "build"}


def _link_environment(folder: Path) -> None:
    """Make a `.venv` with what this Python has, and with the stamp by which make knows that nothing has to be installed."""
    folder.mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("has-"):
            (folder / path.name).symlink_to(path)
    (folder / "has-test").touch()


def check_nobody_has_a_model(walk: Walk) -> None:
    def waits(board: str) -> bool:
        status = walk.status(board)
        return bool(status) and status["fleet"]["trust"] == "waiting" and "model-awaited" in codes(status)

    until(lambda: all(waits(board) for board in VARIANTS), "all boards wait", walk.logs)


def check_first(walk: Walk) -> None:
    """Each board has its variant, its bytes and no other large file; `why` says so."""
    release = walk.folder / "fleet-example" / "release-1"
    size = {name: (release / f"{name}.tflite").stat().st_size for name in ("small", "medium", "large")}
    for board, status in all_serve(walk, 1).items():
        variant, received = VARIANTS[board], status["fleet"]["received"]
        most = size[variant] + (0 if variant == "small" else size["small"])
        assert size[variant] <= received < 1.05 * most + MIB / 4, (board, received)
        why = walk.edged("why", "--config", f"fleet-example/{board}.toml", "--json")
        absent = size.keys() - {variant, "small"}
        assert all(re.search(rf'"{name}"[^{{}}]*"absent"', why) for name in absent), why


def check_second(walk: Walk) -> None:
    for status in all_serve(walk, 2).values():
        assert status["pipelines"][0]["dropped"] == {}


def check_rejected(walk: Walk) -> None:
    """All three say why, and have served release 2 all the time: not one was restarted."""
    all_ended(walk, 3, "rejected", "golden-differs")
    for status in all_serve(walk, 2).values():
        assert "unclean-stop" not in codes(status)


def check_rolled_back(walk: Walk) -> None:
    """The daemons crashed twice, and serve release 2 again."""
    crashes = platform.machine() == "x86_64"
    all_ended(walk, 4, "rolled_back", "crash-loop", *(() if crashes else ("error-flood",)))
    for status in all_serve(walk, 2).values():
        assert not crashes or "unclean-stop" in codes(status)
    assert not crashes or walk.logs().count("Floating point exception") > 0


def check_tidied(walk: Walk) -> None:
    """`watch` tells the same as the boards, who follow the rotated key."""
    found: dict[str, Any] = {}

    def told() -> bool:
        lines = walk.edged("fleet", "watch", "--broker", f"mqtt://127.0.0.1:{walk.port}", "--fleet", "plant-a", "--seconds", "2", "--json")
        said = [json.loads(line) for line in lines.splitlines()]
        found.update({each["device"]: each["payload"] for each in said if each["topic"] == "reported"})
        return found.keys() == VARIANTS.keys() and all(each["trust"]["root"] == 2 for each in found.values())

    until(told, "all boards report the new root", lambda: found)
    for board, variant in VARIANTS.items():
        assert found[board]["trust"]["state"] == "ok"
        model = found[board]["models"]["vibration"]
        assert (model["running"]["release"], model["running"]["variant"], model["wanted"]) == (2, variant, 2)
    listed = json.loads(walk.edged("fleet", "list", "fleet-example/fleet", "--json"))
    assert [each["release"] for each in listed["releases"]] == [1, 2]


def all_ended(walk: Walk, release: int, state: str, *because: str) -> None:
    """Wait until the update of all boards ended so, for one of these reasons."""

    def there(board: str) -> bool:
        update: dict[str, Any] = next(iter(walk.status(board).get("updates", [])), {})
        return bool(update) and (update["release"], update["state"], update["code"] in because) == (release, state, True)

    until(lambda: all(there(board) for board in VARIANTS), f"{release} {state} everywhere", walk.logs)


def all_serve(walk: Walk, release: int) -> dict[str, Any]:
    """Wait until all boards give new results of a release, each in its own variant; give their statuses."""
    before: dict[str, int] = {}
    found: dict[str, Any] = {}

    def serves(board: str) -> bool:
        status = walk.status(board)
        if not status or status["pipelines"][0]["state"] != "running":
            return False
        found[board], results = status, status["pipelines"][0]["results"]
        return results > before.setdefault(board, results)

    until(lambda: all(serves(board) for board in VARIANTS), f"all boards serve {release}", lambda: found)
    running = {board: (each["pipelines"][0]["release"], each["pipelines"][0]["variant"]) for board, each in found.items()}
    assert running == {board: (release, variant) for board, variant in VARIANTS.items()}
    return found


CHECKS: dict[str, Callable[[Walk], None]] = {
    "Three boards": check_nobody_has_a_model,
    "The first push": check_first,
    "The second push": check_second,
    "A release that computes something else": check_rejected,
    "A release that crashes in service": check_rolled_back,
    "Tidy up the orders": check_tidied,
}


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    _program("mosquitto")
    made = Walk(tmp_path)
    yield made
    made.kill()


def test_the_page_does_what_it_says(walk: Walk) -> None:
    """Take the page in order: run its marked blocks, and at the end of each part look whether what it claims is so."""
    heading = ""
    checked = []

    def close() -> None:
        if heading in CHECKS:
            CHECKS[heading](walk)
            checked.append(heading)

    for part in _PART.finditer((REPO / "docs" / "fleet.md").read_text(encoding="utf-8")):
        if part["heading"]:
            close()
            heading = part["heading"]
        else:
            walk.take(part)
    close()
    assert checked == [*CHECKS]
    walk.end()
