"""The daemon of the demo: `edged run` as a child process, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edged.errors import BoardError
from edged.service.embedded import sheltered_from_ctrl_c

STOP_S = 12.0  # longer than the daemon's own deadlines for its parts
_LAST_LINES = 15
_TAIL_BYTES = 1 << 14


class DaemonProcess:
    """`edged run` with a configuration and variables over it; its log goes to a file."""

    def __init__(self, config: Path, over: Mapping[str, str], log: Path) -> None:
        """Start it. `over` holds `EDGED__…` variables; those of the environment are left out."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith("EDGED__")}
        command = [sys.executable, "-m", "edged.cli.main", "run", "--config", str(config)]
        self._log = log
        with log.open("wb") as file, sheltered_from_ctrl_c():
            self._process = subprocess.Popen(
                command, env={**environ, **over}, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        """Give its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise BoardError(`demo-daemon-ended`) where it has ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise BoardError("demo-daemon-ended", f"the daemon of the demo ended by itself (exit code {code})", "its last lines are above")

    def last_lines(self) -> list[str]:
        """Give the end of its log."""
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()[-_LAST_LINES:]

    def stop(self) -> None:
        """Ask it to end, and force it where it does not."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except BaseException:  # also a second Ctrl-C: nothing may be left behind
            self._process.kill()
            self._process.wait()
            raise
