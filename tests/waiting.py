"""Wait for a condition, with a deadline that only a broken program reaches."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

# The suite also runs on small boards and under emulation, ten times slower than a desktop.
PATIENCE_S = float(os.environ.get("EDGED_TEST_PATIENCE_S", "120"))
_POLL_S = 0.02

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str, explain: Callable[[], object] = str) -> T:
    """Poll until `condition` gives something true, and give it; fail with `what` and what `explain` says."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s. {explain()}"
        time.sleep(_POLL_S)
    return value
