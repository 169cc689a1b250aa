"""Measure how many small writes a second the state folder's storage takes for good."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median

from edged.clock import NS

_BLOCK = b"\x5a" * 4096
_MOST, _LONGEST_NS = 100, NS // 2


def write_iops(folder: Path) -> float | None:
    """Give writes of 4 KiB with fsync a second, as their median takes; None where the folder takes none."""
    took: list[int] = []
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".calibrate-", buffering=0) as file:
            until = time.monotonic_ns() + _LONGEST_NS
            while len(took) < _MOST and (start := time.monotonic_ns()) < until:
                file.write(_BLOCK)
                os.fsync(file.fileno())
                took.append(time.monotonic_ns() - start)
    except OSError:
        return None
    return NS / max(1.0, median(took)) if took else None
