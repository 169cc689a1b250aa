"""The limits that every Unix has: on memory, processor time and files; and a place at the end of every queue.

`step_back` comes first of all, so that even the start of the child does not slow the daemon down.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal

from edged.fleet.trial_words import Limits

_FILE_BYTES = 1 << 18
_FILES = 128
_SET_PDEATHSIG = 1


def step_back(parent: int) -> None:
    """Take the least share of the processor, be the first to go when memory is short, and die with the parent."""
    os.nice(19)
    # Where autogroups are on, Linux shares the processor between sessions first, and niceness counts within one only:
    # measured on one busy processor, niceness alone left the trial 50 %, with this it gets 4 %.
    _write("/proc/self/autogroup", b"19")
    _write("/proc/self/oom_score_adj", b"1000")
    with contextlib.suppress(OSError, ImportError):
        from edged.trial.libc import prctl

        prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        raise SystemExit(1)


def bound_time(limits: Limits) -> None:
    """Die by SIGXCPU after so many seconds of processor time."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 2))


def bound_memory(limits: Limits) -> None:
    """Let allocations fail far beyond the limit: what catches a model that fills memory faster than the parent looks.

    Addresses are counted here, not memory, and honest runtimes take more of them than they use: so twice the limit.
    """
    most = (_field_kib("VmData") << 10) + (2 * limits.memory_mib + 64 << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def bound_files() -> None:
    """Allow few open files, which stay small, and no core dump."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def anonymous_kib() -> int:
    """Give the memory in use that belongs to this process alone, in KiB, as the parent counts it."""
    return _field_kib("RssAnon") + _field_kib("RssShmem")


def _field_kib(name: str) -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(f"{name}:")), 0)


def _write(path: str, value: bytes) -> None:
    with contextlib.suppress(OSError):  # not on every kernel
        file = os.open(path, os.O_WRONLY)
        try:
            os.write(file, value)
        finally:
            os.close(file)
