"""How much memory a process takes."""

from __future__ import annotations


def pss_mib(pid: int | None = None) -> float:
    """Give the proportional set size of a process, by default this one; its resident size where the kernel is too old (before 4.14).

    0 where it is gone or not ours to see.
    """
    process = f"/proc/{'self' if pid is None else pid}"
    try:
        return _kib(f"{process}/smaps_rollup", b"Pss:") / 1024
    except (OSError, StopIteration):
        try:
            return _kib(f"{process}/status", b"VmRSS:") / 1024
        except (OSError, StopIteration):
            return 0.0


def _kib(file: str, name: bytes) -> int:
    with open(file, "rb") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
