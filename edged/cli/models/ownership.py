"""Write a service's store as the service's own user, also where root types the command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edged.errors import OperatorError


def become_owner_of(folder: Path) -> None:
    """As root, go on as the owner of a state folder that somebody else has; for good. Raises OSError.

    What root wrote there, the service could not change any more.
    """
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat()
    if owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def check_reach() -> None:
    """Raise OperatorError(`edged-out-of-reach`) where this user may read neither Python nor edged: modules are imported late."""
    for path, right in ((Path(sys.executable), os.X_OK), (Path(__file__), os.R_OK)):
        if not os.access(path, right):
            text = f"the state folder belongs to user {os.getuid()}, who may not read {path}"
            raise OperatorError("edged-out-of-reach", text, "install edged where every user may read it, or start the service")
