"""Run programs that must end: within a time, and with this process, together with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress

_LINES = 20


class Failed(Exception):
    """A program that the test is made with did not do its part; the text says which, and what it said."""


def run(*command: str, timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and give what it said. Raises Failed."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            kill(process)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if code != 0:
        how = f"ended with {code}" if code else f"did not end within {timeout_s:g} s"
        raise Failed("\n".join([f"{' '.join(command)[:200]} {how}", *said.splitlines()[-_LINES:]]))
    return said


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that leads a session of its own, and its children in that."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
