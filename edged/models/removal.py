"""Remove files and folders of the store, and count what that frees. Links are removed, never followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from edged.atomic import sync_folder


def remove(path: Path) -> int:
    """Remove a file or a folder with all in it; give the bytes of its files. Raises OSError."""
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        freed = sum(remove(path / name) for name in os.listdir(path))
        os.rmdir(path)
        return freed
    os.unlink(path)
    return status.st_size


def empty_folder(folder: Path, keep: Collection[str] = ()) -> int:
    """Remove all in `folder` but the names in `keep`, durably; give the bytes of its files. Raises OSError."""
    names = [name for name in os.listdir(folder) if name not in keep]
    freed = sum(remove(folder / name) for name in names)
    if names:
        sync_folder(folder)
    return freed
