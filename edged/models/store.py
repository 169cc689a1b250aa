"""The board's own store of releases: content-addressed, written so that an end at any point leaves old or new.

Under {state_dir}/models/:

    lock                          held by the one process that writes
    blobs/sha256/{hex}            see blobs.py
    incoming/{hex}
    releases/{name}/{release}/    see shelf.py
    journal                       which of them serves; the ledger's, not this module's

A release comes in by `examine`, `fetch`, `verify`, in this order: first its blobs, then the
folder that names them. It goes the other way round. Each step may be cut off anywhere and done
again, and what a cut leaves is found by `collect`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edged.atomic import sync_folder
from edged.config.schema import NAME
from edged.errors import BoardError, BugError, OperatorError
from edged.models.blobs import Blobs, Watch
from edged.models.candidate import Candidate, changed, examine
from edged.models.claim import Claim
from edged.models.manifest import MANIFEST, Manifest, Release
from edged.models.packed import Packed
from edged.models.shelf import Key, Shelf, damaged
from edged.models.source import Source

__all__ = ["RESERVE", "Candidate", "Claim", "Store", "Stored"]

RESERVE = 4 << 20  # left free beside the blobs: manifests, the journal, and the board's other small writes


@dataclass(frozen=True)
class Stored:
    """One release in the store.

    `variants` counts the bytes of each variant's file, `size` those of all files; `folder` holds
    model.toml and release.json. `damage` says why it cannot be loaded; then name, release and
    folder are all that is known.
    """

    name: str
    release: int
    version: str
    task: str
    variants: dict[str, int]
    size: int
    folder: Path
    damage: str = ""


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class Store:
    """Releases under the daemon's state folder.

    `claim` makes what is missing there, and must be held for all that writes: `fetch`, `verify`,
    `remove`, `collect`. The rest may be called by anyone at any time. `free` gives the bytes that are
    free at a folder.
    """

    def __init__(self, state_dir: Path, *, free: Callable[[Path], int] = _free) -> None:
        self._root = state_dir / "models"
        self._free = free
        self._blobs = Blobs(self._root)
        self._shelf = Shelf(self._root)
        self._claim: Claim | None = None

    def claim(self) -> Claim:
        """Become the one process that writes. Raises BoardError(`store-busy`, `store-unwritable`, `no-space`)."""
        with self._disk():
            for folder in (self._blobs.folder, self._blobs.incoming, self._shelf.folder):
                _make(folder)
            self._claim = Claim(self._root / "lock")
        return self._claim

    def examine(self, source: Source) -> Candidate:
        """Look at a release from outside, without a write: its release.json, its model.toml, the names and sizes of its files.

        Raises PublisherError: what the source raises, ReleaseFaults, `packed-malformed`, `packed-stale`, `file-changed`.
        """
        return examine(source)

    def need(self, packed: Packed) -> int:
        """Give the bytes of the blobs that are missing."""
        return sum(seal.size for seal in self._blobs.missing(packed.files.items()))

    def room(self) -> int:
        """Give the bytes that are free for blobs. Raises BoardError(`store-unreadable`)."""
        with self._reading():
            there = next(folder for folder in (self._root, *self._root.parents) if folder.exists())
            return max(0, self._free(there) - RESERVE)

    def fetch(self, source: Source, candidate: Candidate, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
        """Bring in the blobs that are missing; `progress` gets the bytes so far, of those that `need` says.

        Raises what the source raises, PublisherError(`file-changed`), Cancelled, BoardError(`no-space`,
        before the first byte where it can be known; `store-unwritable`). What came in whole stays.
        """
        packed, watch = candidate.packed, Watch(progress, cancelled)
        with self._writing():
            missing = self._blobs.missing(packed.files.items())
            need, room = sum(seal.size for seal in missing), self.room()
            if need > room:
                text = f"{packed.name} {packed.release} needs {_mib(need)}, and {_mib(room)} are free for models at {self._root}"
                raise BoardError("no-space", text, "remove releases that are not used, or other files")
            for seal, file in missing.items():
                with source.open(file) as reader:
                    if not self._blobs.take(reader, seal, watch):
                        raise changed(file, source.name)

    def verify(self, candidate: Candidate, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> Release:
        """Read all blobs of a release back, and put its folder there; `progress` gets the bytes so far, of all of its files.

        Raises Cancelled, BoardError(`store-damaged`, `store-unwritable`, `no-space`). A blob that
        went bad is removed, so that the next `fetch` brings it again.
        """
        packed, watch = candidate.packed, Watch(progress, cancelled)
        with self._writing():
            for file, seal in packed.files.items():
                if not self._blobs.has(seal) or not self._blobs.is_sound(seal, watch):
                    text = f"{self._blobs.path(seal)}, which is {file} of {packed.name} {packed.release}, is not what was written there"
                    raise BoardError("store-damaged", text, "install the release again; if it happens again, the disk is failing")
            self._shelf.place(candidate, self._blobs.path(packed.files[MANIFEST]).read_bytes())
        return self.load(packed.name, packed.release)

    def load(self, name: str, release: int) -> Release:
        """Give a release, its files in the blobs; their sizes are checked.

        Raises OperatorError(`no-such-release`) and BoardError(`store-damaged`, `store-unreadable`).
        """
        with self._reading():
            return self._release(self._read(name, release))

    def planned(self, manifest: Manifest, packed: Packed) -> Release:
        """Give a release as it is to lie in the store; its files need not be there yet."""
        paths = {file: self._blobs.path(seal) for file, seal in packed.files.items()}
        return Release(manifest, self._shelf.of(packed.name, packed.release), packed.files[MANIFEST].sha256, paths)

    def candidate(self, name: str, release: int) -> Candidate:
        """Give a release of the store as it once came in; errors as `load`."""
        with self._reading():
            candidate = self._read(name, release)
            self._release(candidate)
            return candidate

    def packed(self, name: str, release: int) -> Packed:
        """Give the release.json of a release; errors as `load`."""
        with self._reading():
            self._check_there(name, release)
            return self._shelf.packed(name, release)[0]

    def releases(self) -> tuple[Stored, ...]:
        """Give all releases, by name, the newest first; also damaged ones. Raises BoardError(`store-unreadable`)."""
        with self._reading():
            return tuple(self._stored(*key) for key in self._shelf.all())

    def remove(self, name: str, release: int) -> None:
        """Take a release out of the store, and the blobs that no other needs. Which one serves is for the caller to know.

        Raises OperatorError(`no-such-release`), BoardError(`store-unwritable`).
        """
        with self._writing():
            self._check_there(name, release)
            self._shelf.discard(name, release)
            self._sweep(self._shelf.all())

    def collect(self, keep: Collection[Key]) -> int:
        """Remove each release that is not in `keep`, the blobs that none of these names, and what cuts left; give the bytes freed.

        While a kept release is damaged so that nobody knows its blobs, all blobs stay. Raises BoardError(`store-unwritable`).
        """
        with self._writing():
            kept = [key for key in self._shelf.all() if key in keep]
            freed = sum(self._shelf.discard(*key) for key in self._shelf.all() if key not in keep)
            return freed + self._shelf.tidy(kept) + self._sweep(kept) + self._blobs.clear_incoming()

    def _sweep(self, keys: Collection[Key]) -> int:
        """Remove the blobs that these releases do not name."""
        try:
            seals = [seal for key in keys for seal in self._shelf.packed(*key)[0].files.values()]
        except BoardError:
            return 0
        if not all(self._blobs.has(seal) for seal in seals):  # perhaps the name is wrong, not the blob
            return 0
        return self._blobs.sweep({seal.sha256 for seal in seals})

    def _read(self, name: str, release: int) -> Candidate:
        self._check_there(name, release)
        return self._shelf.read(name, release)

    def _release(self, candidate: Candidate) -> Release:
        packed, files = candidate.packed, candidate.packed.files
        for file, seal in files.items():
            if not self._blobs.has(seal):
                text = f"{self._blobs.path(seal)}, which is {file} of {packed.name} {packed.release}, is missing or cut short"
                raise damaged(text)
        return self.planned(candidate.manifest, packed)

    def _stored(self, name: str, release: int) -> Stored:
        folder = self._shelf.of(name, release)
        try:
            candidate = self._shelf.read(name, release)
            self._release(candidate)
        except BoardError as error:
            return Stored(name, release, "", "", {}, 0, folder, damage=error.text)
        packed, files = candidate.packed, candidate.packed.files
        variants = {variant.name: files[variant.file].size for variant in candidate.manifest.variants}
        return Stored(name, release, packed.version, packed.task, variants, sum(seal.size for seal in files.values()), folder)

    def _check_there(self, name: str, release: int) -> None:
        numbers = self._shelf.numbers(name)
        if release not in numbers:
            shown = f"`{name}`" if re.match(NAME, name) else repr(name[:64])
            hint = f"there are {', '.join(map(str, numbers[:20]))}" if numbers else "put one there with `edged models install DIR`"
            raise OperatorError("no-such-release", f"there is no release {release} of {shown} in {self._root}", hint)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self._claim is None or not self._claim.held:
            raise BugError("store-not-claimed", f"the store at {self._root} is to be written without its claim")
        with self._disk():
            yield

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Tell an OSError inside as the board's: sources raise none."""
        try:
            yield
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> BoardError:
        text = f"the store at {self._root} cannot be written: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return BoardError("no-space", text, "remove releases that are not used, or other files")
        if error.errno in (errno.EACCES, errno.EPERM):
            return BoardError("store-unwritable", text + _owned(self._root), "run it as that user, or give it to the one who runs this")
        if error.errno == errno.EROFS:
            return BoardError("store-unwritable", text, "mount it for writing, or set `state_dir` to a folder elsewhere")
        return BoardError("store-unwritable", text, "look for errors of the disk in `dmesg`, and at the folders on the way there")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"the store at {self._root} cannot be read: {error.strerror or error}"
            raise BoardError("store-unreadable", text + _owned(self._root), "run it as a user who may read it") from None


def _make(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    if not folder.is_dir():
        _make(folder.parent)
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not folder.is_dir():
                raise
        sync_folder(folder.parent)


def _owned(folder: Path) -> str:
    """Say to whom a folder belongs, where that can be known."""
    import pwd

    try:
        owner = os.stat(folder).st_uid
        return f"; it belongs to {pwd.getpwuid(owner).pw_name}"
    except (OSError, KeyError):
        return ""


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
