"""`edged` with models that never answer while a file exists: a hang, as a supervisor sees it.

    EDGED_STUCK_FILE=/run/stuck python -m tests.stuck run --config edged.toml

With EDGED_SLOW_S each answer takes so many seconds. The arguments are those of `edged`. Every
engine that the daemon opens is wrapped in this process; the project itself has no such hook.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from edged.service import wiring

FILE = "EDGED_STUCK_FILE"
SLOW = "EDGED_SLOW_S"


class StuckEngine:
    """An engine that sleeps for ever in `infer` once it finds the file; in all else the one that it wraps."""

    def __init__(self, engine: Any, file: Path) -> None:
        self._engine = engine
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, inputs: Any) -> Any:
        if self._file.exists():
            _sleep_for_ever()
        time.sleep(float(os.environ.get(SLOW, "0")))
        return self._engine.infer(inputs)


def get_stuck_while(file: Path) -> None:
    """Make every engine that this process opens from now on hang while `file` exists."""
    open_engine = wiring.open_engine

    def open_stuck(*args: Any, **options: Any) -> Any:
        return StuckEngine(open_engine(*args, **options), file)

    wiring.open_engine = open_stuck


def _sleep_for_ever() -> None:
    while True:
        time.sleep(3600)


def main() -> int:
    from edged.cli.main import main as edged

    get_stuck_while(Path(os.environ[FILE]))
    return edged(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
