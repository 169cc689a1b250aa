"""Releases on their way to a running daemon: made, handed over, waited for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edged.packing.pack import pack
from edged.service.ask import ask
from tests.daemon import HAR, Daemon, Status
from tests.releases import changed
from tests.waiting import PATIENCE_S

QUICK = {"windows": 3, "seconds": 0.0}


def numbered(
    folder: Path, number: int, *changes: tuple[str, str], source: Path = HAR, prepare: Callable[[Path], None] = lambda _: None
) -> Path:
    """Copy a release under another number, with changes to its model.toml and what `prepare` does to its files, and pack it."""
    made = changed(source, folder, *changes)
    prepare(made)
    path = made / "model.toml"
    path.write_text(re.sub(r"(?m)^release = \d+", f"release = {number}", path.read_text()))
    pack(made, lambda _: None)
    return made


def install(daemon: Daemon, folder: Path, **policy: Any) -> dict[str, Any]:
    """Hand a release folder's open files to a daemon; give its answer."""
    names = sorted(each.name for each in folder.iterdir())
    files = [os.open(folder / name, os.O_RDONLY) for name in names]
    try:
        return ask(daemon.socket, "install", PATIENCE_S, {"source": str(folder), "names": names, "policy": policy or QUICK}, files)
    finally:
        for each in files:
            os.close(each)


def asked(daemon: Daemon, op: str, **args: Any) -> dict[str, Any]:
    """Ask a daemon over its control socket."""
    return ask(daemon.socket, op, PATIENCE_S, args)


def update_in(status: Status, model: str = "har") -> dict[str, Any]:
    """Give the part of a status that is about a model's update; empty where there is none."""
    return next((each for each in status["updates"] if each["model"] == model), {})


def until_state(daemon: Daemon, state: str, release: int = 0, model: str = "har") -> dict[str, Any]:
    """Wait until a model's update is in a state; give it."""

    def there(status: Status) -> bool:
        update = update_in(status, model)
        return bool(update) and update["state"] == state and release in (0, update["release"])

    return update_in(daemon.until(there, f"{model} {release or ''} is {state}"), model)
