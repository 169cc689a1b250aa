"""The board's own store of releases: content-addressed, written so that an end at any point leaves old or new.

Under {state_dir}/models/:

    lock                          held by the one process that writes
    blobs/sha256/{hex}            see blobs.py
    incoming/{hex}
    releases/{name}/{release}/    see shelf.py
    journal                       which of them serves; the ledger's, not this module's

A release comes in by `examine`, `fetch`, `verify`, in this order: first its blobs, then the
folder that names them. It goes the other way round. Each step may be cut off anywhere and done
again, and what a cut leaves is found by `collect`. Of a release from far away only some files may be
wanted; the folder says which of them are here, and other ones may be added later in the same way.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edged.config.schema import NAME
from edged.errors import BoardError, BugError, OperatorError
from edged.models.blobs import Blobs, Watch
from edged.models.candidate import Candidate, changed, examine
from edged.models.claim import Claim
from edged.models.disk import make_folder, owner_of, unwritable
from edged.models.manifest import MANIFEST, Release
from edged.models.packed import FileSeal, Packed
from edged.models.shelf import Key, Shelf, damaged
from edged.models.source import Remote, Source

__all__ = ["RESERVE", "Candidate", "Claim", "Store", "Stored"]

RESERVE = 4 << 20  # left free beside the blobs: manifests, the journal, and the board's other small writes


@dataclass(frozen=True)
class Stored:
    """One release in the store.

    `variants` counts the bytes of each variant's file, here or not, `size` those of all files that are here; `folder` holds
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

    @property
    def incoming(self) -> Path:
        """Name the folder that what is on its way comes into, see `Remote.bring`."""
        return self._blobs.incoming

    def claim(self) -> Claim:
        """Become the one process that writes. Raises BoardError(`store-busy`, `store-unwritable`, `no-space`)."""
        with self._disk():
            for folder in (self._blobs.folder, self._blobs.incoming, self._shelf.folder):
                make_folder(folder)
            self._claim = Claim(self._root / "lock")
        return self._claim

    def examine(self, source: Source) -> Candidate:
        """Look at a release from outside, without a write: its release.json, its model.toml, the names and sizes of its files.

        Raises PublisherError: what the source raises, ReleaseFaults, `packed-malformed`, `packed-stale`, `file-changed`.
        """
        return examine(source)

    def need(self, candidate: Candidate) -> int:
        """Give the bytes of the wanted blobs that are missing."""
        return sum(seal.size for seal in self._missing(candidate))

    def space(self, candidate: Candidate) -> int:
        """Give the bytes that have to be free for the wanted blobs: of those that are missing what is not on the disk yet."""
        return sum(seal.size - self._blobs.arrived(seal) for seal in self._missing(candidate))

    def _missing(self, candidate: Candidate) -> dict[FileSeal, str]:
        return self._blobs.missing(candidate.seals.items())

    def room(self) -> int:
        """Give the bytes that are free for blobs. Raises BoardError(`store-unreadable`)."""
        with self._reading():
            there = next(folder for folder in (self._root, *self._root.parents) if folder.exists())
            return max(0, self._free(there) - RESERVE)

    def fetch(self, source: Source, candidate: Candidate, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
        """Bring in the wanted blobs that are missing; `progress` gets the bytes so far, of those that `need` says.

        Raises what the source raises, PublisherError(`file-changed`), Cancelled, BoardError(`no-space`,
        before the first byte where it can be known; `store-unwritable`). What came in whole stays; of a Remote, every piece.
        """
        packed, watch = candidate.packed, Watch(progress, cancelled)
        with self._writing():
            space, room = self.space(candidate), self.room()
            if space > room:
                text = f"{packed.name} {packed.release} needs {_mib(space)}, and {_mib(room)} are free for models at {self._root}"
                raise BoardError("no-space", text, "remove releases that are not used, or other files")
            for seal, file in self._missing(candidate).items():
                if not self._bring(source, file, seal, watch):
                    raise changed(file, source.name)

    def _bring(self, source: Source, file: str, seal: FileSeal, watch: Watch) -> bool:
        """Bring one blob in; False, and nothing is left, where it has other bytes than were sealed."""
        if isinstance(source, Remote):
            return self._blobs.adopt(source.bring(file, seal, self._blobs.incoming, watch), seal, watch)
        with source.open(file) as reader:
            return self._blobs.take(reader, seal, watch)

    def verify(self, candidate: Candidate, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> Release:
        """Read all wanted blobs of a release back, and put its folder there; `progress` gets the bytes so far, of all of these.

        Files of it that were here before stay its own. Raises Cancelled, BoardError(`store-damaged`, `store-unwritable`,
        `no-space`). A blob that went bad is removed, so that the next `fetch` brings it again.
        """
        packed, watch = candidate.packed, Watch(progress, cancelled)
        with self._writing():
            for file, seal in candidate.seals.items():
                if not self._blobs.has(seal) or not self._blobs.is_sound(seal, watch):
                    text = f"{self._blobs.path(seal)}, which is {file} of {packed.name} {packed.release}, is not what was written there"
                    raise BoardError("store-damaged", text, "install the release again; if it happens again, the disk is failing")
            there = replace(candidate, wanted=candidate.wanted | self._here_of(candidate))
            self._shelf.place(there, self._blobs.path(packed.files[MANIFEST]).read_bytes())
        return self.load(packed.name, packed.release)

    def _here_of(self, candidate: Candidate) -> set[str]:
        """Name the files of this very release that the store has already."""
        try:
            before = self._shelf.read(candidate.packed.name, candidate.packed.release)
        except BoardError:  # there is none, or it is to be made right
            return set()
        return {file for file, seal in before.seals.items() if self._blobs.has(seal)} if before.digest == candidate.digest else set()

    def load(self, name: str, release: int) -> Release:
        """Give a release, the files of it that are here in the blobs; their sizes are checked.

        Raises OperatorError(`no-such-release`) and BoardError(`store-damaged`, `store-unreadable`).
        """
        with self._reading():
            return self._release(self._read(name, release))

    def planned(self, candidate: Candidate) -> Release:
        """Give a release with the files that are wanted as it is to lie in the store; they need not be there yet."""
        packed = candidate.packed
        paths = {file: self._blobs.path(seal) for file, seal in candidate.seals.items()}
        return Release(candidate.manifest, self._shelf.of(packed.name, packed.release), packed.files[MANIFEST].sha256, paths)

    def candidate(self, name: str, release: int) -> Candidate:
        """Give a release of the store as it once came in, its files that are here as those that are wanted; errors as `load`."""
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

    def remove(self, name: str, release: int, coming: Collection[str] | None = ()) -> None:
        """Take a release out of the store, and the blobs that no other needs. Which one serves is for the caller to know.

        `coming` as in `collect`. Raises OperatorError(`no-such-release`), BoardError(`store-unwritable`).
        """
        with self._writing():
            self._check_there(name, release)
            self._shelf.discard(name, release)
            self._sweep(self._shelf.all(), coming)

    def collect(self, keep: Collection[Key], coming: Collection[str] | None = ()) -> int:
        """Remove each release that is not in `keep`, the blobs that none of these names, and what cuts left; give the bytes freed.

        `coming` are the hashes of blobs that are being brought from far away: these stay, whole or in part. None: nobody
        knows which these are, so all stay. While a kept release is damaged so that nobody knows its blobs, all whole ones
        stay. Raises BoardError(`store-unwritable`).
        """
        with self._writing():
            kept = [key for key in self._shelf.all() if key in keep]
            freed = sum(self._shelf.discard(*key) for key in self._shelf.all() if key not in keep)
            return freed + self._shelf.tidy(kept) + self._sweep(kept, coming) + self._blobs.clear_incoming(coming)

    def _sweep(self, keys: Collection[Key], coming: Collection[str] | None) -> int:
        """Remove the blobs that neither these releases name nor `coming`."""
        if coming is None:
            return 0
        try:
            seals = [seal for key in keys for seal in self._shelf.seals(*key).values()]
        except BoardError:
            return 0
        if not all(self._blobs.has(seal) for seal in seals):  # perhaps the name is wrong, not the blob
            return 0
        return self._blobs.sweep({*coming, *(seal.sha256 for seal in seals)})

    def _read(self, name: str, release: int) -> Candidate:
        self._check_there(name, release)
        return self._shelf.read(name, release)

    def _release(self, candidate: Candidate) -> Release:
        packed = candidate.packed
        for file, seal in candidate.seals.items():
            if not self._blobs.has(seal):
                text = f"{self._blobs.path(seal)}, which is {file} of {packed.name} {packed.release}, is missing or cut short"
                raise damaged(text)
        return self.planned(candidate)

    def _stored(self, name: str, release: int) -> Stored:
        folder = self._shelf.of(name, release)
        try:
            candidate = self._shelf.read(name, release)
            self._release(candidate)
        except BoardError as error:
            return Stored(name, release, "", "", {}, 0, folder, damage=error.text)
        packed, files = candidate.packed, candidate.packed.files
        size = sum(seal.size for seal in candidate.seals.values())
        variants = {variant.name: files[variant.file].size for variant in candidate.manifest.variants}
        return Stored(name, release, packed.version, packed.task, variants, size, folder)

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
            raise unwritable(self._root, error) from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"the store at {self._root} cannot be read: {error.strerror or error}"
            raise BoardError("store-unreadable", text + owner_of(self._root), "run it as a user who may read it") from None


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
