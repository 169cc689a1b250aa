"""Memory of the board as the kernel counts it, and what of it is left here."""

from __future__ import annotations

from pathlib import Path

from edged.board.limits import memory_left
from edged.board.tree import Tree

MEMINFO = "proc/meminfo"


def available_mib(root: Path = Path("/")) -> float | None:
    """Give the memory that new programs can have without swapping, in MiB, within the limits that we run under."""
    tree = Tree(root)
    left = [each for each in (meminfo_mib(tree, "MemAvailable"), memory_left(tree)) if each is not None]
    return min(left, default=None)


def total_mib(root: Path = Path("/")) -> float | None:
    """Give the board's memory in MiB."""
    return meminfo_mib(Tree(root), "MemTotal")


def meminfo_mib(tree: Tree, key: str) -> float | None:
    """Give a line of /proc/meminfo in MiB; None where there is none, or it is no number."""
    for line in tree.lines(MEMINFO):
        words = line.split()
        if words[:1] == [f"{key}:"] and len(words) > 1 and words[1].isdecimal() and len(words[1]) < 16:
            return int(words[1]) / 1024
    return None
