"""What the commands read: the store that is meant, and the list of models with or without a daemon."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged.errors import OperatorError

if TYPE_CHECKING:
    from edged.service.inventory import Inventory


@dataclass(frozen=True)
class Place:
    """A state folder, and what the configuration says of the board."""

    state_dir: Path
    profile: str = "auto"
    budget_mib: int = 0


def place(config: str | None, state_dir: str | None) -> Place:
    """Find the state folder: `state_dir`, else the configuration's, else that of a board that has none yet.

    Raises what `edged.config.load` raises.
    """
    from edged.cli.settings import load
    from edged.config.defaults import SYSTEM_CONFIG, Machine, default_state_dir

    if state_dir:
        return Place(Path(state_dir).absolute())
    try:
        loaded = load(config)
    except OperatorError as error:
        if error.code != "config-not-found" or config or os.environ.get("EDGED_CONFIG"):
            raise
        return Place(default_state_dir(Path("/") / SYSTEM_CONFIG, os.environ, Machine()))
    return Place(loaded.state_dir, loaded.config.device.profile, loaded.config.device.memory_budget_mib)


def inventory_of(config: str | None, socket: str | None, state_dir: str | None) -> tuple[Inventory, dict[str, Any]]:
    """Give the models of the board, and the same as it came, for JSON: of the daemon, else of the store."""
    import msgspec

    from edged.cli.settings import daemon_at
    from edged.service.ask import NobodyListens
    from edged.service.inventory import read

    if state_dir is None:
        try:
            answer = daemon_at(config, socket).ask("models")
            return read(answer), answer
        except NobodyListens:
            if socket:
                raise
    found = _stored(place(config, state_dir).state_dir)
    return found, msgspec.to_builtins(found)


def _stored(state_dir: Path) -> Inventory:
    from edged.clock import SystemClock
    from edged.models.book import read_ledger
    from edged.models.store import Store
    from edged.service.stock import take_stock
    from edged.service.update_status import statuses

    clock, models = SystemClock(), read_ledger(state_dir).models
    return take_stock(Store(state_dir), models, statuses(models, [], clock), None, clock)
