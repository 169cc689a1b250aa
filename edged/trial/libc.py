"""The C library's `prctl` and `syscall`, with errors as OSError."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.syscall.restype = ctypes.c_long


def prctl(option: int, *arguments: int) -> int:
    """Set an attribute of this process: an option with up to four numbers or addresses."""
    return _checked(_libc.prctl(option, *arguments, *[0] * (4 - len(arguments))), "prctl")


def syscall(number: int, *arguments: int) -> int:
    """Call a system call by its number, with numbers or addresses."""
    return _checked(_libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(argument) for argument in arguments]), f"system call {number}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
