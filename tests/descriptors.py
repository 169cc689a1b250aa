"""What this process has open, for tests that hold code to closing what it opens."""

from __future__ import annotations

import os
from contextlib import suppress

Open = set[tuple[str, str]]


def descriptors() -> Open:
    """Give number and target of every open descriptor of this process.

    What a test opened is `descriptors() - before`. Two counts would not tell: what an earlier test left behind is
    closed whenever Python collects it.
    """
    found: Open = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found
