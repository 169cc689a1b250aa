"""Rehearse the start of a daemon: a child process reads the same store, and builds every pipeline that runs now.

It gets the configuration that the daemon runs with, not the file, which may have changed since: a
release answers for neither. So a release that serves is known to survive a restart before it is called good, without the
readings that a restart would cost where a source cannot wait. The child opens no broker, no
socket and no output, and writes nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from edged.config import schema
from edged.config.load import Loaded
from edged.errors import BoardError, Cancelled, EdgedError, PublisherError
from edged.pss import pss_mib
from edged.service.footprint import check_available
from edged.stream.build import ChooseOrder

LIMIT_S = 120.0
_POLL_S = 0.05
_TAIL = 2000
_SET_PDEATHSIG = 1


class Order(msgspec.Struct, frozen=True):
    """What the child is to build: the pipelines of `config`, with the variants that run. It ends with the process `parent`."""

    config: schema.Config
    variants: dict[str, str]
    state_dir: str
    device_id: str
    parent: int


def rehearse(loaded: Loaded, running: Mapping[str, str], cancelled: Callable[[], bool], runners_mib: float = 0.0) -> None:
    """Build pipelines in a child process; `running` gives the variant of each, `runners_mib` what models take in processes of their own.

    Raises PublisherError(`start-fails`) where a daemon would not start with them, BoardError(`memory-short`,
    `rehearsal-no-start`), Cancelled; else nothing.
    """
    check_available("the rehearsal of a start", 1.5 * (pss_mib() + runners_mib))
    pipelines = [each for each in loaded.config.pipelines if each.name in running]
    config = msgspec.structs.replace(loaded.config, pipelines=pipelines)
    order = Order(config, dict(running), str(loaded.state_dir), loaded.device_id, os.getpid())
    child = _start(order)
    try:
        _wait(child, cancelled)
        assert child.stderr is not None
        if child.returncode:
            said = child.stderr.read(_TAIL).decode("utf-8", "replace").strip() or f"it ended with {child.returncode}"
            text = f"a daemon would not start with it: {said}"
            raise PublisherError("start-fails", text, "`edged check` and `edged models show` say more")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # also a runtime's probe that it may have begun
        child.communicate()


def _start(order: Order) -> subprocess.Popen[bytes]:
    """Start the child; its order lies in a memory file, so that nobody waits for it to read."""
    try:
        with os.fdopen(os.memfd_create("edged-rehearsal"), "w+b") as given:
            given.write(msgspec.json.encode(order))
            given.seek(0)
            command = [sys.executable, "-m", "edged.service.rehearsal"]
            return subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        text = f"the process of a rehearsal cannot be started: {error.strerror}"
        raise BoardError("rehearsal-no-start", text, "see whether memory or processes are short") from error


def build_all(order: Order) -> None:
    """Build pipelines as a daemon would; raises the first error."""
    import random
    from functools import partial

    from edged.clock import SystemClock
    from edged.engines.choose import open_engine
    from edged.models.active import active_release
    from edged.service.lanes import release_of
    from edged.stream.build import Around, build_pipeline

    config, state_dir = order.config, Path(order.state_dir)
    run = f"{random.getrandbits(64):016x}"
    find, same = partial(active_release, state_dir), _same(order.variants)
    around = Around(order.device_id, config.device.fleet, run, SystemClock(), open_engine, lambda *_: None, same, find)
    for options in config.pipelines:
        if not options.model_dir:
            build_pipeline(options, release_of(options, state_dir), [], lambda: None, around)


def _same(variants: Mapping[str, str]) -> ChooseOrder:
    return lambda options, _: [variants[options.name]]


def _wait(child: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while child.poll() is None:
        if cancelled():
            raise Cancelled
        if time.monotonic() >= until:
            text = f"a daemon would not start with it within {LIMIT_S:g} s"
            raise PublisherError("start-fails", text, "see how long its models take to load: `edged bench`")
        time.sleep(_POLL_S)


def _die_with(parent: int) -> None:
    """Leave nobody behind where the daemon is killed."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    _die_with(given.parent)
    try:
        build_all(given)
    except EdgedError as error:
        sys.exit(f"{error.text} [{error.code}]")
