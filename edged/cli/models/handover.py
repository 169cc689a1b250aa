"""Open the files of a release to hand them to the daemon: it never opens a path of somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edged.errors import PublisherError
from edged.models.packed import PACKED, parse_packed
from edged.models.section import regular_size, unreadable
from edged.models.source import FolderSource, missing, source_of
from edged.service.request import MAX_FILES


@contextmanager
def open_release(path: Path) -> Iterator[tuple[list[str], list[int]]]:
    """Give file names and open descriptors, in one order; no names for the one descriptor of a pack. Closed at the end.

    Raises what `source_of` and reading release.json raise, and PublisherError: `pack-too-many-files`,
    `file-changed`, `file-outside`, `file-unreadable`.
    """
    with ExitStack() as stack:
        source = source_of(path)
        stack.callback(source.close)
        if not isinstance(source, FolderSource):
            yield [], [_open(path, str(path), stack, os.O_RDONLY)]
            return
        names = [PACKED, *parse_packed(source.packed(), str(path / PACKED)).files]
        if len(names) > MAX_FILES:
            text = f"{path / PACKED} names {len(names)} files, and {MAX_FILES} at once are handed over"
            raise PublisherError("pack-too-many-files", text, "run `edged pack` on the folder again")
        # What `_inside` gives has no link at its end; one that was put there since is refused.
        yield names, [_open(_inside(path, name), f"{path / name}", stack, os.O_RDONLY | os.O_NOFOLLOW) for name in names]


def _inside(folder: Path, name: str) -> Path:
    """Follow links as far as they stay in the folder."""
    try:
        real = (folder / name).resolve(strict=True)
        if real.parent == folder.resolve():
            return real
    except FileNotFoundError:
        raise missing(name, str(folder)) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        raise unreadable(str(folder / name), error) from None
    text = f"`{name}` is a link to {real}, outside the folder"
    raise PublisherError("file-outside", text, "copy the file into the folder, and pack it again")


def _open(path: Path, name: str, stack: ExitStack, flags: int) -> int:
    """Open a regular file without waiting for the writer of a pipe."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(name, error) from None
    stack.callback(os.close, fd)
    regular_size(fd, name)
    return fd
