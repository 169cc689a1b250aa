"""What a board has seen of its fleet and never goes below: versions of metadata, revisions of orders, the time.

One file, written whole and durably before what it allows is done. An emptied cache of metadata, a clock that was set
back or an old document that is played again all stop here. Where a role's keys are replaced its floor begins anew: so
a thief who ran numbers up (fast-forward) is recovered from by a rotation, as TUF asks (section 5.3.11).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.atomic import write_atomic
from edged.errors import BoardError
from edged.models.disk import make_folder
from edged.models.entries import Refusal

FLOOR = "floor.json"
MAX_FLOOR_BYTES = 1 << 20
MOST_SETTLED = 512  # models; the oldest are forgotten

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Version(msgspec.Struct, frozen=True):
    """The highest version of a role's metadata that was trusted, under the keys (for root: from the anchor) with this fingerprint."""

    version: _Count = 0
    keys: str = ""


class Revision(msgspec.Struct, frozen=True):
    """The highest revision accepted for an audience, the SHA-256 of its payload, the fingerprint of the director's keys, and its end.

    `expires` is in seconds since 1970.
    """

    rev: _Count = 0
    sha256: str = ""
    keys: str = ""
    expires: _Count = 0


class Settled(msgspec.Struct, frozen=True):
    """An order that came to its end: which (`order`), with what around it (`input`), committed or why not."""

    order: str
    input: str
    committed: bool = False
    why: Refusal = Refusal()


class Floor(msgspec.Struct, frozen=True):
    """All of it. `time` is wall time in nanoseconds, of a clock that something kept right."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    time: _Count = 0
    roles: dict[str, Version] = {}
    revs: dict[str, Revision] = {}
    settled: dict[str, Settled] = {}


class FloorFile:
    """The floor on disk; `now` is what it says. One process writes it: the one that has the store's claim."""

    def __init__(self, folder: Path) -> None:
        """Read it. Raises BoardError(`trust-floor-damaged`, `trust-unreadable`)."""
        self._path = folder / FLOOR
        self.now = self._read()

    def put(self, floor: Floor) -> None:
        """Make it durable, then what `now` says. Raises BoardError(`trust-unwritable`); then neither is changed."""
        if floor == self.now:
            return
        try:
            make_folder(self._path.parent)
            write_atomic(self._path, msgspec.json.encode(floor), 0o600)
        except OSError as error:
            raise unwritable(self._path, error) from None
        self.now = floor

    def _read(self) -> Floor:
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_FLOOR_BYTES + 1), type=Floor)
        except FileNotFoundError:
            return Floor()
        except OSError as error:
            text = f"{self._path} cannot be read: {error.strerror or error}"
            raise BoardError("trust-unreadable", text, "check its owner and mode") from None
        except (msgspec.DecodeError, RecursionError) as error:
            text = f"{self._path} is damaged ({str(error)[:100]}); without it old metadata and orders could be played again"
            hint = "check the disk; move the file away to begin anew with what the fleet says now"
            raise BoardError("trust-floor-damaged", text, hint) from None


def unwritable(path: Path, error: OSError) -> BoardError:
    """Say that what is known of the fleet cannot be kept."""
    text = f"{path} cannot be written: {error.strerror or error}"
    return BoardError("trust-unwritable", text, "make room, or check owner and mode of the state folder")
