"""Rehearse the start of a daemon: a child process reads the same configuration and store, and builds every pipeline.

So a release that serves is known to survive a restart before it is called good, without the
readings that a restart would cost where a source cannot wait. The child opens no broker, no
socket and no output, and writes nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edged.config.load import Loaded
from edged.errors import Cancelled, EdgedError, PublisherError
from edged.service.footprint import check_available
from edged.service.machine import pss_mib

LIMIT_S = 120.0
_POLL_S = 0.05
_TAIL = 2000


def rehearse(loaded: Loaded, cancelled: Callable[[], bool]) -> None:
    """Raise PublisherError(`start-fails`) where a daemon would not start, BoardError(`memory-short`), Cancelled; else nothing."""
    check_available("the rehearsal of a start", 1.5 * (pss_mib() or 0.0))
    command = [sys.executable, "-m", "edged.service.rehearsal", str(loaded.path)]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        _wait(child, cancelled)
        assert child.stderr is not None
        if child.returncode:
            said = child.stderr.read(_TAIL).decode("utf-8", "replace").strip() or f"it ended with {child.returncode}"
            text = f"a daemon would not start with it: {said}"
            raise PublisherError("start-fails", text, "`edged check` and `edged models show` say more")
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def build_all(path: Path) -> None:
    """Build every pipeline of a configuration as a daemon would; raises the first error."""
    import random

    from edged.clock import SystemClock
    from edged.config.load import load_config
    from edged.engines.choose import open_engine
    from edged.service.lanes import release_of
    from edged.stream.build import Around, build_pipeline

    loaded = load_config(path, os.environ)
    run = f"{random.getrandbits(64):016x}"
    around = Around(loaded.device_id, loaded.config.device.fleet, run, SystemClock(), open_engine, lambda *_: None)
    for options in loaded.config.pipelines:
        if not options.model_dir:
            build_pipeline(options, release_of(options, loaded.state_dir), [], lambda: None, around)


def _wait(child: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while child.poll() is None:
        if cancelled():
            raise Cancelled
        if time.monotonic() >= until:
            text = f"a daemon would not start with it within {LIMIT_S:g} s"
            raise PublisherError("start-fails", text, "see how long its models take to load: `edged bench`")
        time.sleep(_POLL_S)


if __name__ == "__main__":
    try:
        build_all(Path(sys.argv[1]))
    except EdgedError as error:
        sys.exit(f"{error.text} [{error.code}]")
