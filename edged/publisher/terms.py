"""`fleet.toml`: the fleet's name, and for how many days what is signed holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.atomic import write_atomic
from edged.config.schema import Name
from edged.errors import OperatorError

MAX_BYTES = 16 << 10
_Days = Annotated[int, Meta(ge=1, le=3650)]


class Days(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Lives of what is signed, in days; a change counts from the next signature on."""

    root: _Days = 365
    targets: _Days = 365
    snapshot: _Days = 30
    timestamp: _Days = 30
    desired: _Days = 90


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands in fleet.toml."""

    fleet: Name
    days: Days = Days()


def read_terms(path: Path) -> Terms:
    """Read a fleet.toml. Raises OperatorError: `not-a-repository`, `fleet-toml`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        text = f"{path.parent} is no repository of a fleet: there is no {path.name} in it"
        raise OperatorError("not-a-repository", text, f"make one: edged fleet init {path.parent} --fleet NAME") from None
    except OSError as error:
        raise OperatorError("fleet-toml", f"{path} cannot be read: {error.strerror}", "check its owner and mode") from None
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is longer than {MAX_BYTES >> 10} KiB")
        return msgspec.toml.decode(data, type=Terms)
    except ValueError as error:
        raise OperatorError("fleet-toml", f"{path} is not as it was written: {error}", "mend it, or take it from a backup") from None


def write_terms(path: Path, terms: Terms) -> None:
    """Write it durably, with a word on each part. Raises OSError."""
    days = "\n".join(f"{name} = {getattr(terms.days, name)}" for name in Days.__struct_fields__)
    head = f'# Made by `edged fleet init`.\nfleet = "{terms.fleet}"\n'
    write_atomic(path, f"{head}\n# For how many days a signature holds, from the next one on.\n[days]\n{days}\n".encode())
