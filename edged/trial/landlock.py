"""Landlock: no change in the file system, no listening or connecting, no signals to others, where the kernel has it (5.13).

Sources: linux/landlock.h, Documentation/userspace-api/landlock.rst. What a kernel handles is told by its
ABI number; no rule is added, so that all that is handled is denied. Reading is not handled.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from edged.trial.libc import syscall

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on all processors
_VERSION = 1
_READ = 1 << 2 | 1 << 3  # READ_FILE, READ_DIR
# Highest right of the file system that an ABI knows: 1 MAKE_SYM, 2 REFER, 3 TRUNCATE, 5 IOCTL_DEV.
_HIGHEST = {1: 12, 2: 13, 3: 14, 4: 14}
_NET = 0b11  # BIND_TCP, CONNECT_TCP; ABI 4
_SCOPED = 0b11  # ABSTRACT_UNIX_SOCKET, SIGNAL; ABI 6


def restrict() -> None:
    """Restrict this thread and those it will start; OSError where the kernel has no Landlock, or others run already."""
    if len(os.listdir("/proc/self/task")) > 1:  # they would keep their rights
        raise OSError(errno.EBUSY, "other threads run already")
    abi = syscall(_CREATE_RULESET, 0, 0, _VERSION)
    rights = (1 << (_HIGHEST.get(abi, 15) + 1)) - 1 & ~_READ
    attribute = struct.pack("=Q", rights)
    if abi >= 4:
        attribute += struct.pack("=Q", _NET)
    if abi >= 6:
        attribute += struct.pack("=Q", _SCOPED)
    buffer = ctypes.create_string_buffer(attribute, len(attribute))
    ruleset = syscall(_CREATE_RULESET, ctypes.addressof(buffer), len(attribute), 0)
    try:
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
