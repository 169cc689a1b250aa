"""Small files under a root: what the kernel and the system say of themselves.

The root is passed in, so that tests read recorded trees. What is not there is None or empty:
boards differ, and a check that learns nothing says nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

_MOST_BYTES = 1 << 16


class Tree:
    """The files under `root`, which stands for `/`; paths are given without the leading slash."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def text(self, path: str | Path) -> str | None:
        """Give the first 64 KiB of a file, stripped; None where it cannot be read."""
        try:
            with open(self.root / path, "rb", opener=_without_waiting) as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace").strip("\x00 \t\r\n")
        except (OSError, ValueError):
            return None

    def number(self, path: str | Path, base: int = 10) -> int | None:
        """Give a file that holds one whole number, in hexadecimal also with `0x`; None where it does not."""
        try:
            return int(self.text(path) or "", base)
        except ValueError:
            return None

    def lines(self, path: str | Path) -> list[str]:
        """Give the lines of a file."""
        return (self.text(path) or "").splitlines()

    def has(self, path: str | Path) -> bool:
        """Say whether there is such a file or folder; one that may not be looked at counts as missing."""
        try:
            return (self.root / path).exists()
        except OSError:
            return False

    def find(self, pattern: str) -> list[Path]:
        """Give the files that match a pattern, as paths under the root, by name."""
        try:
            return sorted(path.relative_to(self.root) for path in self.root.glob(pattern))
        except OSError:  # a folder that goes while it is read, as those of processes do
            return []

    def command_line(self) -> list[str]:
        """Give the words of the kernel's command line."""
        return (self.text("proc/cmdline") or "").split()


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would keep us for ever."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
