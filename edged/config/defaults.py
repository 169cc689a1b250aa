"""Where edged keeps its state and its socket, and what the board is called, when the file does not say.

The system's folders are taken where this user may write to them, else the user's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edged.config.meaning import MAX_SOCKET_BYTES

SYSTEM_CONFIG = "etc/edged/edged.toml"


@dataclass(frozen=True)
class Machine:
    """What the defaults depend on beside the environment; `root` stands for `/`."""

    root: Path = Path("/")
    host: str = field(default_factory=lambda: os.uname().nodename)
    uid: int = field(default_factory=os.getuid)


def default_state_dir(config: Path, environ: Mapping[str, str], machine: Machine) -> Path:
    """Choose the folder for what must survive a restart; it may not be there yet.

    The system's configuration file goes with the system's folder where that is there: who
    only looks sees the same state as the daemon.
    """
    system = machine.root / "var/lib/edged"
    if _may_write(system) or (_is_system(config, machine) and system.is_dir()):
        return system
    return user_folder(environ, "XDG_STATE_HOME", ".local/state") or _private(machine)


def default_socket(config: Path, environ: Mapping[str, str], machine: Machine) -> Path:
    """Choose the control socket's path; its folder may not be there yet.

    As with the state, who reads the system's file asks the system's daemon where one listens.
    The last choice is in a folder that all users share: who makes it must refuse one that
    belongs to somebody else.
    """
    system = machine.root / "run/edged/control.sock"
    if _may_write(system.parent) or (_is_system(config, machine) and _stands(system)):
        return system
    runtime = _absolute(environ.get("XDG_RUNTIME_DIR"))
    user = runtime and runtime / "edged/control.sock"
    return user if user and len(os.fsencode(user)) <= MAX_SOCKET_BYTES else _private(machine) / "control.sock"


def user_folder(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """Give `edged` in a folder of the XDG base directory rules; None where the user has no home."""
    home = _absolute(environ.get("HOME"))
    base = _absolute(environ.get(variable)) or (home and home / below_home)
    return base and base / "edged"


def fit_name(host: str) -> str:
    """Make a device id of a host name: `Press_7.plant.example` gives `press_7`; always one that fits."""
    first = re.sub(r"[^a-z0-9_-]+", "-", host.lower().split(".")[0])
    return first.strip("-_")[:64] or "board"


def _absolute(text: str | None) -> Path | None:
    # The XDG rules say that a path that is not absolute is to be passed over.
    return Path(text) if text and text.startswith("/") else None


def _private(machine: Machine) -> Path:
    return machine.root / f"tmp/edged-{machine.uid}"


def _is_system(config: Path, machine: Machine) -> bool:
    return config == machine.root / SYSTEM_CONFIG


def _stands(path: Path) -> bool:
    """Tell whether something is at `path`; what this user may not see into counts: who asks is then told of the group."""
    try:
        return path.exists()
    except PermissionError:
        return True


def _may_write(folder: Path) -> bool:
    """Tell whether this user may make files in `folder`, or may make the folder itself."""
    if folder.is_dir():
        return os.access(folder, os.W_OK | os.X_OK)
    return not folder.exists() and folder.parent.is_dir() and os.access(folder.parent, os.W_OK | os.X_OK)
