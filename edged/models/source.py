"""Where the bytes of a release come from before they are in the store: a folder, a pack, files that were handed over, or far away.

All of it is from outside. A source gives regular files under plain names and promises nothing
of their content: the store holds each against `release.json`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from edged.errors import OperatorError, PublisherError
from edged.models.blobs import Watch
from edged.models.edgedpack import SUFFIX, PackSource
from edged.models.packed import MAX_PACKED_BYTES, PACKED, FileSeal
from edged.models.rules import is_plain
from edged.models.section import Section, open_section, regular_size, unreadable

__all__ = ["FilesSource", "FolderSource", "PackSource", "Remote", "Source", "source_of"]


class Source(Protocol):
    """One release from outside. Reading fails with an EdgedError only, never with an OSError."""

    name: str
    """For people: a path."""

    def packed(self) -> bytes:
        """Give the bytes of release.json, one more than allowed at most. Raises PublisherError(`not-packed`, `file-unreadable`)."""

    def size(self, file: str) -> int:
        """Give the bytes of a file that release.json names, without reading it; errors as `open`."""

    def open(self, file: str) -> BinaryIO:
        """Open a file that release.json names, to be closed by the caller.

        It can seek, and reads the same file as often as it is opened. Raises
        PublisherError(`file-changed`) where there is none, and `file-outside`, `file-unreadable`.
        """

    def close(self) -> None:
        """Let go of what is open."""


@runtime_checkable
class Remote(Source, Protocol):
    """A release whose bytes are far away, so that only what this board needs is fetched, and what came stays over an end.

    `open` is asked for model.toml only, and `size` says what is known without the file. Reading may also fail with
    PeerError or BoardError, as the way to the bytes does.
    """

    def bring(self, file: str, seal: FileSeal, folder: Path, watch: Watch) -> Path:
        """Leave all of a file in `folder`, the store's `incoming/`, as `{sha256}.part`, and give its path.

        What lies there of it, and in `{sha256}.map`, is gone on with, and counted as done. Its pieces were checked, the
        whole was not. Raises EdgedError, Cancelled, and OSError of the disk.
        """


class FolderSource:
    """A packed release folder."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def packed(self) -> bytes:
        """Give the bytes of release.json, see `Source`."""
        try:
            file = self._open(PACKED)
        except FileNotFoundError:
            text = f"there is no {self._folder / PACKED}"
            raise PublisherError("not-packed", text, f"run `edged pack {self._folder}` first") from None
        return _bounded(file)

    def size(self, file: str) -> int:
        """Look at its size, see `Source`."""
        with self.open(file) as opened:
            return opened.seek(0, os.SEEK_END)

    def open(self, file: str) -> BinaryIO:
        """Open a file, see `Source`."""
        if not is_plain(file):
            raise missing(file, self.name)
        try:
            return self._open(file)
        except FileNotFoundError:
            raise missing(file, self.name) from None

    def close(self) -> None:
        """Nothing is kept open."""

    def _open(self, file: str) -> BinaryIO:
        """Open without waiting for the writer of a pipe, and without following a link that leads elsewhere."""
        path = self._folder / file
        try:
            real = path.resolve(strict=True)
            if real.parent != self._folder.resolve():
                text = f"`{file}` is a link to {real}, outside the folder"
                raise PublisherError("file-outside", text, "copy the file into the folder, and pack it again")
            return open_section(lambda: os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), str(path))
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
            raise unreadable(str(path), error) from None


class FilesSource:
    """Open files that another process handed over, by their names; they are this source's from here on, also where it is refused."""

    def __init__(self, files: Mapping[str, BinaryIO], name: str) -> None:
        """Raises PublisherError(`file-unreadable`) where one is not a regular file."""
        self.name = name
        self._files = dict(files)
        try:
            self._sizes = {file: regular_size(opened.fileno(), f"`{file[:200]}` of {name}") for file, opened in self._files.items()}
        except BaseException:
            self.close()
            raise

    def packed(self) -> bytes:
        """Give the bytes of release.json, see `Source`."""
        if PACKED not in self._files:
            raise PublisherError("not-packed", f"there is no {PACKED} in {self.name}", "run `edged pack` on the folder first")
        return _bounded(self.open(PACKED))

    def size(self, file: str) -> int:
        """Give the size that a file was handed over with, see `Source`."""
        if file not in self._sizes:
            raise missing(file, self.name)
        return self._sizes[file]

    def open(self, file: str) -> BinaryIO:
        """Open a file, see `Source`."""
        if file not in self._files:
            raise missing(file, self.name)
        return io.BufferedReader(Section(self._files[file].fileno(), 0, self._sizes[file], f"`{file}` of {self.name}"))

    def close(self) -> None:
        """Close all files."""
        for opened in self._files.values():
            opened.close()


def source_of(path: Path) -> Source:
    """Open the release at `path`: a folder, or a file `.edgedpack`.

    Raises OperatorError(`no-such-source`), and what PackSource raises.
    """
    shown = str(path) if str(path).isprintable() else repr(str(path))
    try:
        if path.is_dir():
            return FolderSource(path)
        if path.suffix != SUFFIX:
            there = path.exists()
            text = f"{shown} is neither a folder nor a file {SUFFIX}" if there else f"there is no {shown}"
            raise OperatorError("no-such-source", text, f"name a folder with a model.toml, or a file {SUFFIX}")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OperatorError("no-such-source", f"{shown} cannot be opened: {reason}", "check its name, owner and mode") from None
    return PackSource(os.fdopen(fd, "rb", buffering=0), str(path))


def missing(file: str, name: str) -> PublisherError:
    """Say that a file which release.json names is not there."""
    text = f"there is no {file[:200]!r} in {name}, and its {PACKED} names one"
    return PublisherError("file-changed", text, "copy the release again, or pack it again")


def _bounded(file: BinaryIO) -> bytes:
    with file:
        return file.read(MAX_PACKED_BYTES + 1)
