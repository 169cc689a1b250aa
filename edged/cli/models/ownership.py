"""Write a service's store as the service's own user, also where root types the command."""

from __future__ import annotations

import os
from pathlib import Path


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
