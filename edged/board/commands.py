"""Ask a program of the system; tests pass what it once answered instead."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

TIMEOUT_S = 5.0

Run = Callable[[Sequence[str]], str | None]


def run(command: Sequence[str]) -> str | None:
    """Give what a program prints; None where it is not there, fails, or takes longer than five seconds."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
