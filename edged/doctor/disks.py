"""Which file system and device a path lies on, as the kernel's tables say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edged.board.tree import Tree

_ESCAPE = re.compile(r"\\([0-7]{3})")
_PARTITION = re.compile(r"(mmcblk\d+)p\d+")


@dataclass(frozen=True)
class Mount:
    """A mounted file system: where, its type, its options, and the name of its block device (empty: none)."""

    point: Path
    kind: str
    options: frozenset[str]
    device: str

    @property
    def disk(self) -> str:
        """Give the whole card of a partition: `mmcblk0` for `mmcblk0p2`; other devices as they are."""
        match = _PARTITION.fullmatch(self.device)
        return match[1] if match else self.device


def mount_of(tree: Tree, path: Path) -> Mount | None:
    """Find the mount that an absolute path lies in; None where the kernel does not say."""
    found = None
    for line in tree.lines("proc/self/mountinfo"):
        mount = _read(tree, line)
        # A later mount at the same place hides an earlier one.
        if mount and path.is_relative_to(mount.point) and (found is None or len(mount.point.parts) >= len(found.point.parts)):
            found = mount
    return found


def is_card(device: str) -> bool:
    """Say whether a block device is a memory card or an eMMC."""
    return device.startswith("mmcblk")


def _read(tree: Tree, line: str) -> Mount | None:
    """Read a line such as `27 1 179:2 / / rw,noatime - ext4 /dev/root rw`; proc(5) has the fields."""
    before, dash, after = line.partition(" - ")
    fields, rest = before.split(), after.split()
    if not dash or len(fields) < 6 or not rest:
        return None
    point = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]))
    options = frozenset(fields[5].split(",")) | frozenset(rest[2].split(",") if len(rest) > 2 else ())
    return Mount(point, rest[0], options, _device(tree, fields[2]))


def _device(tree: Tree, number: str) -> str:
    """Give the name of the block device `major:minor`; the mount's own word for it may be `/dev/root`."""
    return next((path.parent.name for path in tree.find("sys/class/block/*/dev") if tree.text(path) == number), "")
