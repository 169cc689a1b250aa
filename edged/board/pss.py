"""How much memory this process takes."""

from __future__ import annotations


def pss_mib() -> float:
    """Give the proportional set size of this process; its resident size where the kernel is too old (before 4.14)."""
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(b"Pss:")) / 1024
    except (OSError, StopIteration):
        with open("/proc/self/status", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"VmRSS:")), 0) / 1024
