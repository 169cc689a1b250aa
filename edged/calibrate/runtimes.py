"""Have a child process measure models in one runtime, and collect what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from edged.calibrate.child import Measured
from edged.errors import BoardError

_PATIENCE_S = 60.0  # an emulated or very slow board takes seconds to import


def measure(
    runtime: str, what: str, seconds: float, files: Sequence[Path], show: Callable[[str], None] = lambda _: None, least: int | None = None
) -> dict[Path, Measured]:
    """Measure `files` as `edged/calibrate/child.py` says; give the least time of each. Those with an `error` did not run.

    It takes about so many `seconds`, the start of the process included; longer where so many files as `least`, None: all,
    are not measured by then. Those that there was no time for are left out.
    Raises BoardError(`runtime-crashed`) where the child did not come to its end.
    """
    until, at_least = time.monotonic() + seconds, len(files) if least is None else least
    command = [sys.executable, "-m", "edged.calibrate.child", runtime, what, str(until), str(at_least)]
    found: dict[str, Measured] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        late = threading.Timer(seconds + _PATIENCE_S, child.kill)
        late.start()
        try:
            _write(child.stdin, files)
            for line in child.stdout or ():
                measured = _least(found, msgspec.json.decode(line, type=Measured))
                show(Path(measured.file).stem)
        except BaseException:  # Ctrl-C too
            child.kill()
            raise
        finally:
            late.cancel()
    if child.returncode != 0:
        how = f"ended with {signal.Signals(-child.returncode).name}" if child.returncode < 0 else "failed"
        last = f" after {Path(next(reversed(found))).stem}" if found else ""
        raise BoardError("runtime-crashed", f"{runtime} {how}{last}", "see `edged doctor`")
    return {file: found[str(file)] for file in files if str(file) in found}


def _write(stdin: IO[bytes] | None, files: Sequence[Path]) -> None:
    with suppress(BrokenPipeError):  # it is dead already: its exit code says so
        if stdin is not None:
            with stdin:
                stdin.write(b"".join(b"%s\n" % os.fsencode(file) for file in files))


def _least(found: dict[str, Measured], measured: Measured) -> Measured:
    before = found.get(measured.file)
    if before is not None:
        measured.us, measured.bare_us = min(before.us, measured.us), min(before.bare_us, measured.bare_us)
    found[measured.file] = measured
    return measured
