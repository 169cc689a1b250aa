"""The systemd unit: where it is installed, with its drop-ins, and what it says."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from edged.board.tree import Tree
from edged.service.unit import UNIT, shipped

_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")


@dataclass(frozen=True)
class Unit:
    """A unit's settings, (key, value), in their order; drop-ins come after the file itself. `path` is that file's."""

    path: str
    settings: tuple[tuple[str, str], ...]

    def values(self, key: str) -> list[str]:
        """Give all values of a key that may stand several times; an empty one takes back those before it."""
        kept: list[str] = []
        for name, value in self.settings:
            if name == key:
                kept = [*kept, value] if value else []
        return kept

    def value(self, key: str) -> str:
        """Give the last value of a key, empty where there is none."""
        return (self.values(key) or [""])[-1]

    def words(self, key: str) -> list[str]:
        """Give the words of all values of a key."""
        return " ".join(self.values(key)).split()

    def yes(self, key: str) -> bool:
        """Say whether a key is switched on."""
        return self.value(key).lower() in ("yes", "true", "on", "1")

    @property
    def command(self) -> list[str]:
        """Give the program that the unit starts and its arguments, without the marks before it; empty where there is none."""
        try:
            return shlex.split(self.value("ExecStart").lstrip("@-:+!|"))
        except ValueError:
            return []


def find_unit(tree: Tree, with_drop_ins: bool = True) -> Unit | None:
    """Read the unit as systemd would, or its own file alone; None where it is not installed."""
    path = next((f"{folder}/{UNIT}" for folder in _FOLDERS if tree.text(f"{folder}/{UNIT}") is not None), None)
    if path is None:
        return None
    # Of drop-ins with one name, the first folder's counts; all are read in the order of their names.
    drop_ins = {drop_in.name: drop_in for folder in reversed(_FOLDERS) for drop_in in tree.find(f"{folder}/{UNIT}.d/*.conf")}
    names = sorted(drop_ins) if with_drop_ins else []
    texts = [tree.text(path) or "", *(tree.text(drop_ins[name]) or "" for name in names)]
    return Unit(f"/{path}", tuple(setting for text in texts for setting in parse_unit(text)))


def packaged_unit() -> Unit:
    """Read the unit that comes with this version of edged."""
    return Unit(UNIT, tuple(parse_unit(shipped(UNIT))))


def parse_unit(text: str) -> list[tuple[str, str]]:
    """Give key and value of each setting, of all sections: no key is in two; comments and lines that are none are left out."""
    settings = []
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if "=" in line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            settings.append((key.strip(), value.strip()))
    return settings
