"""Which user the daemon runs as, and what that user may do with a file."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from edged.board.tree import Tree
from edged.doctor.unitfile import Unit
from edged.service.unit import UNIT

READ, WRITE = 4, 2


@dataclass(frozen=True)
class Account:
    """A user: `uid` is None for one that systemd makes at each start; `service` says that the daemon's unit names it."""

    name: str
    uid: int | None
    gids: frozenset[int]
    service: bool

    @property
    def words(self) -> str:
        """Name it for a person."""
        return f"the service (user {self.name})" if self.service else f"user {self.name}"

    def may(self, status: os.stat_result, wanted: int) -> bool:
        """Say whether the mode of a file grants `wanted`, READ and WRITE together."""
        if self.uid == 0:
            return True
        shift = 6 if self.uid == status.st_uid else 3 if status.st_gid in self.gids else 0
        return stat.S_IMODE(status.st_mode) >> shift & wanted == wanted


def account_of(unit: Unit | None, tree: Tree) -> Account:
    """Give the service's user where a unit is installed, else who runs this."""
    return service_account(unit, tree) if unit else own_account(tree)


def own_account(tree: Tree) -> Account:
    """Give the user who runs this."""
    uid = os.geteuid()
    name = next((row[0] for row in _rows(tree, "etc/passwd", 4) if row[2] == str(uid)), str(uid))
    return Account(name, uid, frozenset([os.getegid(), *os.getgroups()]), service=False)


def service_account(unit: Unit, tree: Tree) -> Account:
    """Give the user that the unit names. With DynamicUser it may have no entry, and belong to the groups of the unit only."""
    name = unit.value("User") or (UNIT.removesuffix(".service") if unit.yes("DynamicUser") else "root")
    user = next((row for row in _rows(tree, "etc/passwd", 4) if name in row[:1] or name == row[2]), None)
    named = [*unit.words("SupplementaryGroups"), unit.value("Group")]
    groups = _rows(tree, "etc/group", 3)
    gids = {row[2] for row in groups if row[0] in named or (len(row) > 3 and user and user[0] in row[3].split(","))}
    gids |= {each for each in named if each.isdecimal()} | ({user[3]} if user else set())
    uid = user[2] if user else "0" if name == "root" else name
    return Account(name, int(uid) if uid.isdecimal() else None, frozenset(int(gid) for gid in gids if gid.isdecimal()), service=True)


def group_name(gid: int, tree: Tree) -> str:
    """Name a group; its number where it has no name."""
    return next((row[0] for row in _rows(tree, "etc/group", 3) if row[2] == str(gid)), str(gid))


def _rows(tree: Tree, path: str, least: int) -> list[list[str]]:
    rows = (line.split(":") for line in tree.lines(path))
    return [row for row in rows if len(row) >= least]
