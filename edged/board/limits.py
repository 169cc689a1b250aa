"""What a container or a service may take of the board: memory and cores, by control groups of version 2 and before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from edged.board.processor import count_cores
from edged.board.tree import Tree

_MIB = 1 << 20
_DEEPEST = 32
# Beside the file of each version's limit: the file of what is used, and what of it in memory.stat can be given up.
_USED = {"memory.max": ("memory.current", "inactive_file"), "memory.limit_in_bytes": ("memory.usage_in_bytes", "total_inactive_file")}


def memory_limit(tree: Tree) -> tuple[int, str] | None:
    """Give the lowest limit on this process, in MiB, and the file that sets it; None where there is none."""
    found = [(number // _MIB, path) for path in _files(tree) if (number := tree.number(path)) and number >= _MIB]
    return min(found, default=None)


def memory_left(tree: Tree) -> float | None:
    """Give what the tightest limit leaves, in MiB; pages of files that can be given up count as free. None: no limit."""
    left = [room for path in _files(tree) if (room := _room(tree, path)) is not None]
    return min(left, default=None)


def core_limit(tree: Tree) -> tuple[int, str] | None:
    """Give how many cores this process may run on, and the file that says so; None where nothing does."""
    status = "proc/self/status"
    allowed = (line.partition(":")[2] for line in tree.lines(status) if line.startswith("Cpus_allowed_list:"))
    found = [(count, status) for text in allowed if (count := count_cores(text))]
    for path in _files(tree):
        quota = path.rpartition("/")[0] + "/cpu.max"
        microseconds, _, period = (tree.text(quota) or "").partition(" ")
        if microseconds.isdecimal() and period.isdecimal() and len(microseconds + period) < 24 and int(period):
            found.append((max(1, int(microseconds) // int(period)), quota))
    return min(found, default=None)


def _room(tree: Tree, path: str) -> float | None:
    folder, _, file = path.rpartition("/")
    used_file, cache_key = _USED[file]
    limit, used = tree.number(path), tree.number(f"{folder}/{used_file}")
    if limit is None or used is None:
        return None
    rows = (line.split() for line in tree.lines(f"{folder}/memory.stat"))
    cached = next((int(row[1]) for row in rows if row[:1] == [cache_key] and len(row) == 2 and row[1].isdecimal()), 0)
    return max(0, limit - max(0, used - cached)) / _MIB


def _files(tree: Tree) -> Iterator[str]:
    """Name the files that may limit us: those of our group, and of all that it is in."""
    for line in tree.lines("proc/self/cgroup")[:_DEEPEST]:
        number, controllers, own = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            base, file = "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in PurePosixPath(own).parts if part not in ("/", "..", ".")][:_DEEPEST]
        # Inside a container the path may be the host's, and the container's own group is at the top.
        for depth in range(len(parts), -1, -1):
            yield "/".join((base, *parts[:depth], file))
