"""What a model adds to this process, seen in a fork of it: so each one is loaded into the same state, and no start of Python is paid."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_MOST_BYTES = 1 << 16


def in_fork(run: Callable[[], bytes]) -> bytes:
    """Give what `run` gives in a fork, which then ends at once; empty where it failed or crashed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, run())
            code = 0
        finally:
            os._exit(code)  # no handler and no buffer of the parent's may run here
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = file.read(_MOST_BYTES)
    _, status = os.waitpid(child, 0)
    return answer if status == 0 else b""


def written_mib() -> float:
    """Give the memory that this process has written and shares with none."""
    return _line_mib(b"Private_Dirty:", b"RssAnon:")


def resident_mib() -> float:
    """Give all memory of this process that is resident; unlike the proportional size, whoever else uses the same libraries."""
    return _line_mib(b"Rss:", b"VmRSS:")


def _line_mib(in_rollup: bytes, in_status: bytes) -> float:
    path, name = "/proc/self/smaps_rollup", in_rollup
    if not os.path.exists(path):  # kernels before 4.14; the other one is exact to some pages only
        path, name = "/proc/self/status", in_status
    with open(path, "rb") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(name)), 0) / 1024


def settle() -> None:
    """Have the allocator give back what is free."""
    with suppress(OSError, AttributeError):  # not every C library has it
        libc: Any = ctypes.CDLL(None)
        libc.malloc_trim(0)
