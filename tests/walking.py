"""Walk through a page of docs/ as its reader does: write its files, start what is to run, type its commands.

`<!-- file: NAME -->` before a block writes it to that file; `<!-- start -->` runs each of its lines in a terminal of its own;
`<!-- run -->` types its commands, which have to end well, `<!-- run: 1 -->` with that exit code.
"""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.broker import _PLACES, free_port
from tests.conftest import REPO
from tests.waiting import PATIENCE_S

PART = re.compile(
    r"^#+ (?P<heading>[^\n]+)$"
    r"|^<!-- (?:run(?:: (?P<code>\d+))?|(?P<start>start)|file: (?P<file>[\w./-]+)) -->\n```(?P<kind>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_PORT = "1883"


class Walk:
    """A folder that looks like the checkout, and what runs in it. The port on the page is another here."""

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

    def take(self, part: re.Match[str]) -> str:
        """Do what a marked block is for; give what its commands print, where they are typed."""
        body = part["body"].replace(_PORT, self.port)
        if part["file"]:
            if part["file"].endswith("mosquitto.conf"):  # else it gives root away, and may not read the folders above a test
                body += f"user {getpass.getuser()}\n"
            (self.folder / part["file"]).write_text(body, encoding="utf-8")
        elif part["start"]:
            for line in body.splitlines():
                self._start(line)
        else:
            return self.run(body, int(part["code"] or 0))
        return ""

    def edged(self, *args: str) -> str:
        """Run a command that is not on the page; give what it prints, whatever its exit code says of the board."""
        command = [str(self.folder / ".venv" / "bin" / "edged"), *args]
        return subprocess.run(command, cwd=self.folder, env=self._environ, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S).stdout

    def run(self, commands: str, code: int) -> str:
        """Type commands, which have to end with this exit code; give what they print."""
        bash = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(bash, cwd=self.folder, env=self._environ, capture_output=True, text=True, timeout=2 * PATIENCE_S)
        assert done.returncode == code, f"{commands}\n{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

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


def _tracked_names() -> set[str]:
    return {path.name for path in REPO.iterdir() if not path.name.startswith((".", "fleet-example", "my-")) and path.name != "build"}


def _link_environment(folder: Path) -> None:
    """Make a `.venv` with what this Python has, and with the stamp by which make knows that nothing has to be installed."""
    folder.mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("has-"):
            (folder / path.name).symlink_to(path)
    (folder / "has-test").touch()
