"""Which releases serve, as a process sees it that only reads: the journal of the store, and its folders."""

from __future__ import annotations

from pathlib import Path

from edged.errors import OperatorError
from edged.models.book import read_ledger
from edged.models.manifest import Release
from edged.models.store import Store


def active_release(state_dir: Path, model: str) -> Release:
    """Give the release of a model that serves. Raises OperatorError(`no-such-model`), BoardError(`store-damaged`, `store-unreadable`)."""
    ledger = read_ledger(state_dir)
    number = ledger.of(model).active
    if number is None:
        known = ", ".join(name for name, held in sorted(ledger.models.items()) if held.active is not None)
        hint = f"installed are: {known}" if known else "put one there with `edged models install DIR`"
        raise OperatorError("no-such-model", f"there is no model `{model[:64]}` in the store of {state_dir}", hint)
    return Store(state_dir).load(model, number)


def active_models(state_dir: Path) -> list[str]:
    """Name the models that have a release that serves. Raises BoardError(`store-unreadable`)."""
    return sorted(name for name, held in read_ledger(state_dir).models.items() if held.active is not None)
