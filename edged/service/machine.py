"""What the board shows of itself without a profile: its name, its memory, its temperature.

Root paths are passed in, so that tests read recorded trees.
"""

from __future__ import annotations

import platform
from pathlib import Path

ROOT = Path("/")


def board_name(root: Path = ROOT) -> str:
    """Give the board's own name, or the processor's architecture where it has none."""
    try:
        text = (root / "proc/device-tree/model").read_bytes()[:200]
    except OSError:
        return f"generic {platform.machine()}"
    return text.rstrip(b"\x00").decode("utf-8", "replace")


def temperature_c(root: Path = ROOT) -> float | None:
    """Give the hottest thermal zone in degrees Celsius, None where there is none."""
    readings = (_millidegrees(zone) for zone in (root / "sys/class/thermal").glob("thermal_zone*/temp"))
    return max((reading / 1000 for reading in readings if reading is not None), default=None)


def _millidegrees(zone: Path) -> int | None:
    try:
        return int(zone.read_text()[:16])
    except (OSError, ValueError):
        return None


def available_mib(root: Path = ROOT) -> float | None:
    """Give the memory that new programs can have without swapping, in MiB."""
    return _meminfo("MemAvailable", root)


def total_mib(root: Path = ROOT) -> float | None:
    """Give the board's memory in MiB."""
    return _meminfo("MemTotal", root)


def _meminfo(key: str, root: Path) -> float | None:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def pss_mib(root: Path = ROOT) -> float | None:
    """Give this process's proportional share of memory in MiB."""
    try:
        for line in (root / "proc/self/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
