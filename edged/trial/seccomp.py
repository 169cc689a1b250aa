"""A seccomp filter: which system calls a trial may make, and with which arguments.

Written as classic BPF (linux/filter.h, linux/seccomp.h): a list of instructions that sees the number, the
processor and the six arguments of a call. What is denied fails with EPERM, so that a runtime
that tries something harmless lives on; calls newer than the list fail with ENOSYS, as on an
old kernel. One piece of memory beyond the limit kills with SIGSYS, which the parent takes for just that.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from edged.trial.libc import prctl, syscall
from edged.trial.system_calls import AARCH64, COMMON_ALLOWED, FIRST_COMMON, OPEN, X86_64, denied, number

_ARCH = {X86_64: 0xC000003E, AARCH64: 0xC00000B7}
_SECCOMP = {X86_64: 317, AARCH64: 277}
_X32 = 0x40000000  # the bit of the other numbering on x86_64

_SET_NO_NEW_PRIVS, _SET_SECCOMP = 38, 22
_MODE_FILTER, _SET_MODE_FILTER, _TSYNC = 2, 1, 1

_LOAD, _EQUAL, _GREATER, _GREATER_EQUAL, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000  # with an errno in the lower half
_NUMBER, _MACHINE = 0, 4  # offsets in struct seccomp_data

_CLONE_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SHARED_ANONYMOUS = 0x21
_ANONYMOUS = 0x20
_PROT_WRITE = 0x2

Instruction = tuple[int, int, int, int]


def install(machine: str, memory_bytes: int) -> None:
    """Filter the calls of all threads of this process for good; OSError where the kernel or what runs it has no seccomp."""
    program = b"".join(struct.pack("=HBBI", *each) for each in _program(machine, os.getpid(), memory_bytes))
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    prctl(_SET_NO_NEW_PRIVS, 1)
    try:
        syscall(_SECCOMP[machine], _SET_MODE_FILTER, _TSYNC, ctypes.addressof(header))
    except OSError:
        # systemd's @system-service has no seccomp(2); the older way holds one thread, and those it will start.
        if len(os.listdir("/proc/self/task")) > 1:
            raise
        prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(header))


def knows(machine: str) -> bool:
    """Say whether there is a filter for this processor."""
    return machine in _ARCH


def _program(machine: str, pid: int, memory_bytes: int) -> list[Instruction]:
    program = [_load(_MACHINE), (_EQUAL, 1, 0, _ARCH[machine]), _refuse(errno.ENOSYS), _load(_NUMBER)]
    if machine == X86_64:
        program += [(_GREATER_EQUAL, 0, 1, _X32), _refuse(errno.ENOSYS)]
    for call in denied(machine):
        program += _when(call, [_refuse(errno.EPERM)])
    for call, body in _argued(machine, pid, memory_bytes):
        program += _when(call, body)
    for call in COMMON_ALLOWED:
        program += _when(call, [_return(_ALLOW)])
    return [*program, (_GREATER_EQUAL, 0, 1, FIRST_COMMON), _refuse(errno.ENOSYS), _return(_ALLOW)]


def _argued(machine: str, pid: int, memory_bytes: int) -> Iterator[tuple[int, list[Instruction]]]:
    """Give the calls that are judged by their arguments, each with instructions that always return."""
    allow, refuse = _return(_ALLOW), _refuse(errno.EPERM)
    writing = [(_ANY_BIT, 0, 1, _WRITING), refuse, allow]
    if machine in OPEN:
        yield OPEN[machine], [_argument(1), *writing]
    yield number(machine, "openat"), [_argument(2), *writing]
    yield number(machine, "clone"), [_argument(0), (_ANY_BIT, 1, 0, _CLONE_THREAD), refuse, allow]
    for name in ("kill", "tgkill"):  # abort() needs it
        yield number(machine, name), [_argument(0), (_EQUAL, 1, 0, pid), refuse, allow]
    # reading one's own limits
    yield number(machine, "prlimit64"), [
        _argument(0), (_EQUAL, 0, 4, 0), _argument(2), (_EQUAL, 0, 2, 0), _argument(2, high=True), (_EQUAL, 1, 0, 0), refuse, allow,
    ]  # fmt: skip
    yield number(machine, "mmap"), [
        _argument(3), (_ANY_BIT, 1, 0, _ANONYMOUS), allow,
        (_AND, 0, 0, _SHARED_ANONYMOUS), (_EQUAL, 0, 1, _SHARED_ANONYMOUS), refuse,
        _argument(2), (_ANY_BIT, 1, 0, _PROT_WRITE), allow,  # addresses that are only reserved take no memory
        *_kill_from(1, memory_bytes),
    ]  # fmt: skip
    yield number(machine, "mremap"), _kill_from(2, memory_bytes)


def _kill_from(index: int, least: int) -> list[Instruction]:
    """Kill where an argument of 64 bits is `least` or more, else allow."""
    high, low = divmod(least, 1 << 32)
    return [
        _argument(index, high=True), (_GREATER, 3, 0, high), (_EQUAL, 0, 3, high),
        _argument(index), (_GREATER_EQUAL, 0, 1, low), _return(_KILL), _return(_ALLOW),
    ]  # fmt: skip


def _when(call: int, body: list[Instruction]) -> list[Instruction]:
    return [(_EQUAL, 0, len(body), call), *body]


def _load(offset: int) -> Instruction:
    return _LOAD, 0, 0, offset


def _argument(index: int, high: bool = False) -> Instruction:
    return _load(16 + 8 * index + 4 * high)  # both processors have the lower half first


def _return(value: int) -> Instruction:
    return _RETURN, 0, 0, value


def _refuse(code: int) -> Instruction:
    return _return(_REFUSE | code)
