"""What models this board has, as the daemon answers and `edged models list --json` shows it: its keys stay."""

from __future__ import annotations

from typing import Any

import msgspec

from edged.errors import PeerError
from edged.service.snapshot import UpdateStatus


class VariantEntry(msgspec.Struct):
    """One variant: bytes of its file, in words why it is not the one that runs, empty for the one that does; whether its file is here."""

    name: str = ""
    engine: str = ""
    size: int = 0
    quality: float | None = None
    why_not: str = ""
    here: bool = True


class ReleaseEntry(msgspec.Struct):
    """One release. `why_not` says in words why it does not serve, empty for the active one; `report` is its trial's.

    Of one that is not `stored` (any more) only the failure is known.
    """

    release: int = 0
    version: str = ""
    task: str = ""
    size: int = 0
    stored: bool = True
    active: bool = False
    last_good: bool = False
    previous: bool = False
    pinned: bool = False
    why_not: str = ""
    variants: list[VariantEntry] = []
    report: dict[str, Any] | None = None


class Running(msgspec.Struct):
    """One pipeline that runs a model."""

    pipeline: str = ""
    release: int = 0
    variant: str = ""
    engine: str = ""


class ModelEntry(msgspec.Struct):
    """One model. `active` serves, or would at the next start; `since` is when it came to that, `unproven` that it is being watched."""

    name: str = ""
    active: int | None = None
    since: str = ""
    since_s: float | None = None
    last_good: int | None = None
    previous: int | None = None
    unproven: bool = False
    running: list[Running] = []
    update: UpdateStatus | None = None
    releases: list[ReleaseEntry] = []


class Inventory(msgspec.Struct):
    """All models, by name. `daemon` says whether a daemon told it: without one nothing runs."""

    daemon: bool = False
    models: list[ModelEntry] = []


def read(answer: dict[str, Any]) -> Inventory:
    """Make an inventory of a daemon's answer. Raises PeerError(`inventory-unreadable`)."""
    try:
        return msgspec.convert(answer, Inventory)
    except msgspec.ValidationError as error:
        text = f"the daemon's answer is no list of models that this version understands: {error}"
        raise PeerError("inventory-unreadable", text, "daemon and command may be of different versions: restart the daemon") from None
