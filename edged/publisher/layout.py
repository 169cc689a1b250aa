"""Where everything lies in the folder of a fleet's repository, and the lock that keeps commands on it apart.

    DIR/fleet.toml                        see `terms.py`
    DIR/keys/{role}-{keyid[:8]}.pem       private keys; see `keys.py`
    DIR/incoming/                         blobs on their way
    DIR/public/metadata/                  TUF metadata, consistent snapshots
    DIR/public/blobs/sha256/{hex}         every file of every release, and the piece indexes
    DIR/public/desired/dev/{id}.json      signed orders to one device
    DIR/public/desired/grp/{group}.json   signed orders to a group

`DIR/public` may be served by any web server or carried on a stick; nothing secret is ever below it.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edged.atomic import sync_folder
from edged.config.schema import NAME
from edged.errors import BoardError, OperatorError
from edged.models.blobs import Blobs

BUSY_S = 10.0  # how long a command waits for another one: a renewal takes no second
_LOOK_S = 0.02


class Layout:
    """The paths below one repository folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.terms = folder / "fleet.toml"
        self.keys = folder / "keys"
        self.lock = folder / "lock"
        self.public = folder / "public"
        self.metadata = self.public / "metadata"
        self.blobs = Blobs(self.public)
        self.blobs.incoming = folder / "incoming"
        self.timestamp = self.metadata / "timestamp.json"
        self._desired = self.public / "desired"

    def desired(self, audience: str) -> Path:
        """Say where the orders to `dev:{id}` or `group:{group}` lie."""
        kind, _, name = audience.partition(":")
        return self._desired / {"dev": "dev", "group": "grp"}[kind] / f"{name}.json"

    def audiences(self) -> list[str]:
        """Name those that have orders, sorted, devices first."""
        found = []
        for kind, folder in (("dev", "dev"), ("group", "grp")):
            names = sorted(path.stem for path in (self._desired / folder).glob("*.json"))
            found += [f"{kind}:{name}" for name in names if re.match(NAME, name)]
        return found

    def make(self) -> None:
        """Make the folders, those of keys for their owner only. Raises OSError."""
        for path in (
            self.folder,
            self.public,
            self.metadata,
            self.blobs.folder.parent,
            self.blobs.folder,
            self.blobs.incoming,
            self._desired,
        ):
            path.mkdir(parents=True, exist_ok=True)
        for name in ("dev", "grp"):
            (self._desired / name).mkdir(exist_ok=True)
        self.keys.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self.folder)

    @contextmanager
    def locked(self, wait_s: float = BUSY_S) -> Iterator[None]:
        """Hold the repository for a change.

        Raises OperatorError(`repository-busy`) where another one holds it for longer than `wait_s`, BoardError(`repository-unwritable`).
        """
        try:
            fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        try:
            end = time.monotonic() + wait_s
            while not _taken(fd):
                if time.monotonic() >= end:
                    text = f"another command is changing {self.folder}"
                    raise OperatorError("repository-busy", text, "wait until it has ended, and run this again")
                time.sleep(_LOOK_S)
            yield
        finally:
            os.close(fd)


def unwritable(folder: Path, error: OSError) -> BoardError:
    """Say that a repository cannot be written."""
    text = f"{error.filename or folder} cannot be written: {error.strerror}"
    return BoardError("repository-unwritable", text, "check its owner, its mode and the free space; what was there before is unchanged")


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
