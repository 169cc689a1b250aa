"""What the disk under the store refuses, in words that say who must do what."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edged.atomic import sync_folder
from edged.errors import BoardError


def unwritable(root: Path, error: OSError) -> BoardError:
    """Give the error of a store at `root` that cannot be written: `no-space` or `store-unwritable`."""
    text = f"the store at {root} cannot be written: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BoardError("no-space", text, "remove releases that are not used, or other files")
    if error.errno in (errno.EACCES, errno.EPERM):
        return BoardError("store-unwritable", text + owner_of(root), "run it as that user, or give it to the one who runs this")
    if error.errno == errno.EROFS:
        return BoardError("store-unwritable", text, "mount it for writing, or set `state_dir` to a folder elsewhere")
    return BoardError("store-unwritable", text, "look for errors of the disk in `dmesg`, and at the folders on the way there")


def owner_of(folder: Path) -> str:
    """Say to whom a folder belongs, to follow a sentence; empty where that cannot be known."""
    import pwd

    try:
        owner = os.stat(folder).st_uid
        return f"; it belongs to {pwd.getpwuid(owner).pw_name}"
    except (OSError, KeyError):
        return ""


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not folder.is_dir():
                raise
        sync_folder(folder.parent)
