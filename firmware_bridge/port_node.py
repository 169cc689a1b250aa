"""Who holds a port's device node, and whose members may open it."""

from __future__ import annotations

import grp
import os
import stat
from contextlib import suppress
from pathlib import Path

_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP


def group_that_may(path: str) -> str | None:
    """Give the group whose members may read and write the node; None where it is root's, or no group may. Raises OSError."""
    node = os.stat(path)
    if not node.st_gid or node.st_mode & _GROUP_MAY != _GROUP_MAY:
        return None
    try:
        return grp.getgrgid(node.st_gid).gr_name
    except KeyError:
        return str(node.st_gid)


def holders(path: str, proc: Path = Path("/proc")) -> str:
    """Name the programs that have a port open, by name and process; those of other users can only be seen by root."""
    real = os.path.realpath(path)
    processes = sorted(int(each) for each in os.listdir(proc) if each.isdecimal())
    found = [f"{_name(proc / str(number))} (process {number})" for number in processes if _has_open(proc / str(number), real)]
    return " and ".join(found) or "another program"


def _has_open(process: Path, real: str) -> bool:
    try:
        opened = os.listdir(process / "fd")
    except OSError:  # it has ended, or is another user's
        return False
    for number in opened:
        with suppress(OSError):  # closed meanwhile
            if os.readlink(process / "fd" / number) == real:
                return True
    return False


def _name(process: Path) -> str:
    """Give a program's name; a program may choose any."""
    try:
        name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program that has just ended"
    return "".join(c if c.isprintable() else "?" for c in name)
