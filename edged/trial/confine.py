"""Give up, for good, all that running a model does not need; and say what this system does not let us give up."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from edged.fleet.trial_words import Confined, Limits
from edged.trial.bounds import anonymous_kib, bound_files, bound_memory, bound_time


def confine(limits: Limits) -> Confined:
    """Confine this process. What is refused is told, never raised: an old kernel still gets its trial."""
    steps: dict[str, Callable[[], None]] = {
        "cpu limit": lambda: bound_time(limits),
        "memory limit": lambda: bound_memory(limits),
        "file limits": bound_files,
        "no new privileges": _no_new_privileges,
        "landlock": _landlock,
        "seccomp": lambda: _seccomp(limits),  # the last: it forbids the others
    }
    faults = {name: _fault(step) for name, step in steps.items()}
    have = [name for name, fault in faults.items() if not fault]
    return Confined(have, [f"{name}: {fault}" for name, fault in faults.items() if fault], anonymous_kib())


def _fault(step: Callable[[], None]) -> str:
    """Take a step; say why it cannot be taken here."""
    try:
        step()
    except (OSError, ValueError, ImportError) as error:
        return str(getattr(error, "strerror", None) or error) or type(error).__name__
    return ""


def _no_new_privileges() -> None:
    from edged.trial.libc import prctl

    prctl(38, 1)  # PR_SET_NO_NEW_PRIVS: Landlock and seccomp want it of a process without privileges


def _landlock() -> None:
    from edged.trial.landlock import restrict

    restrict()


def _seccomp(limits: Limits) -> None:
    from edged.trial.seccomp import install, knows

    machine = os.uname().machine
    if not knows(machine) or sys.maxsize < 2**32:
        raise ValueError(f"no filter for {machine} with {sys.maxsize.bit_length() + 1} bits")
    install(machine, limits.memory_mib << 20)
