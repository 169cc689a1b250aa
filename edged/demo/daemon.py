"""The daemon of the demo: `edged run` as a child process, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edged.errors import BoardError
from edged.pss import pss_mib

STOP_S = 12.0  # longer than the daemon's own deadlines for its parts
_LAST_LINES = 15
_TAIL_BYTES = 1 << 14


class DaemonFailed(BoardError):
    """The daemon does not do its work; `lines` are the last of its log."""

    def __init__(self, code: str, text: str, lines: list[str]) -> None:
        super().__init__(code, text, "the lines above are the last that it said" if lines else "it said nothing")
        self.lines = lines


@dataclass(frozen=True)
class Memory:
    """MiB (PSS) of the daemon, and of the processes that it started; 0: not known, or none."""

    daemon: float
    children: float


class DaemonProcess:
    """`edged run` with a configuration and variables over it; its log goes to a file."""

    def __init__(self, config: Path, over: Mapping[str, str], log: Path) -> None:
        """Start it. `over` holds `EDGED__…` variables; those of the environment are left out."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith("EDGED__")}
        command = [sys.executable, "-m", "edged.cli.main", "run", "--config", str(config)]
        self._log = log
        with log.open("wb") as file:
            # A session of its own: what a terminal or `timeout` sends to all of us ends the demo, which then ends the daemon.
            self._process = subprocess.Popen(
                command,
                env={**environ, **over},
                cwd=log.parent,  # `-m` looks for modules in its folder first: not where the user happens to be
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise DaemonFailed(`demo-daemon-ended`) where it has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise self.failed("demo-daemon-ended", f"ended by itself, with exit code {code}")

    def failed(self, code: str, what: str) -> DaemonFailed:
        """Make the error that says what is wrong with it, with the end of its log."""
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return DaemonFailed(code, f"the daemon of the demo {what}", lines[-_LAST_LINES:])

    def memory(self) -> Memory:
        """Say what it takes now."""
        return Memory(pss_mib(self._process.pid), sum(map(pss_mib, self._children())))

    def _children(self) -> Iterator[int]:
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = path.read_text(encoding="latin-1").rpartition(")")[2].split()[1]  # behind the name, which may hold anything
            except (OSError, IndexError):  # it has ended meanwhile
                continue
            if parent == str(self._process.pid):
                yield int(path.parent.name)

    def stop(self) -> None:
        """Ask it to end, and force it where it does not."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also after a second Ctrl-C
            self._process.kill()
            self._process.wait()
