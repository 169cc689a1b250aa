"""The folders of the releases in a store: `releases/{name}/{release}/` with model.toml and release.json.

Where not all files of a release are in the store, files.json names those that are, see `partial.py`.
A folder appears whole, by a rename from `.{release}.part`, and goes by a rename to
`.{release}.gone`; what an end leaves under such names is removed by `tidy`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from edged.atomic import sync_folder, write_atomic
from edged.config.schema import NAME
from edged.errors import BoardError, PublisherError
from edged.models.candidate import Candidate, is_sealed
from edged.models.manifest import MANIFEST, MAX_MANIFEST_BYTES, parse_manifest
from edged.models.packed import MAX_PACKED_BYTES, PACKED, FileSeal, Packed, check_seals, parse_packed
from edged.models.partial import FILES, MAX_FILES_BYTES, encode_files, is_sensible, parse_files
from edged.models.removal import empty_folder, remove

Key = tuple[str, int]  # name of a model, number of its release


class Shelf:
    """The releases below a store's root. All raise OSError where the disk does."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "releases"

    def of(self, name: str, release: int) -> Path:
        """Say where a release lies, or will lie."""
        return self.folder / name / str(release)

    def all(self) -> list[Key]:
        """Give all releases, by name, the newest first."""
        return [(name, number) for name in sorted(_folders(self.folder)) for number in self.numbers(name)]

    def numbers(self, name: str) -> list[int]:
        """Give the releases of a model, the newest first; none for a name that no model can have."""
        if not re.match(NAME, name):
            return []
        return sorted((int(each) for each in _folders(self.folder / name) if re.fullmatch(r"[1-9][0-9]{0,15}", each)), reverse=True)

    def packed(self, name: str, release: int) -> tuple[Packed, bytes]:
        """Read a release.json. Raises BoardError(`store-damaged`)."""
        path = self.of(name, release) / PACKED
        try:
            data = _read(path, MAX_PACKED_BYTES)
            packed = parse_packed(data, str(path))
        except (FileNotFoundError, NotADirectoryError):
            raise damaged(f"there is no {path}") from None
        except PublisherError as error:
            raise damaged(error.text) from None
        if (packed.name, packed.release) != (name, release) or MANIFEST not in packed.files:
            raise damaged(f"{path} is of {packed.name} {packed.release}")
        return packed, data

    def seals(self, name: str, release: int) -> dict[str, FileSeal]:
        """Give the seals of the files of a release that are in the store, by name. Raises BoardError(`store-damaged`)."""
        packed, _ = self.packed(name, release)
        names = self._files(name, release, packed)
        return {file: seal for file, seal in packed.files.items() if file in names}

    def read(self, name: str, release: int) -> Candidate:
        """Read a release.json and its model.toml; what is wanted is what is in the store. Raises BoardError(`store-damaged`)."""
        packed, packed_bytes = self.packed(name, release)
        names = self._files(name, release, packed)
        path = self.of(name, release) / MANIFEST
        with suppress(FileNotFoundError, PublisherError):
            data = _read(path, MAX_MANIFEST_BYTES)
            document, manifest = parse_manifest(data, str(path))
            if is_sealed(data, packed.files[MANIFEST]) and manifest is not None and not document.faults:
                check_seals(packed, manifest, str(path.parent / PACKED))
                if is_sensible(names, manifest):
                    return Candidate.of(packed, packed_bytes, manifest, names)
                raise damaged(f"{path.parent / FILES} names no variant that is here with all of its files")
        raise damaged(f"{path} is not what was installed")

    def _files(self, name: str, release: int, packed: Packed) -> frozenset[str]:
        """Name the files that are in the store. Raises BoardError(`store-damaged`)."""
        path = self.of(name, release) / FILES
        try:
            return parse_files(_read(path, MAX_FILES_BYTES), packed.files)
        except FileNotFoundError:
            return frozenset(packed.files)
        except ValueError as error:
            raise damaged(f"{path} is not what was written there: {str(error)[:200]}") from None

    def place(self, candidate: Candidate, manifest: bytes) -> None:
        """Put a release's folder there, whole or not at all; what is there is made right. The files that are wanted are in the store."""
        folder = self.of(candidate.packed.name, candidate.packed.release)
        files = {MANIFEST: manifest, PACKED: candidate.packed_bytes}
        if not candidate.is_whole:
            files[FILES] = encode_files(candidate.wanted)
        if folder.is_dir():
            self._place_again(folder, files)
        else:
            self._place_new(folder, files)
        sync_folder(folder.parent)
        sync_folder(self.folder)

    def _place_again(self, folder: Path, files: dict[str, bytes]) -> None:
        for file, data in files.items():
            if not _holds(folder / file, data):
                write_atomic(folder / file, data)
        if FILES not in files and (folder / FILES).exists():
            os.unlink(folder / FILES)
            sync_folder(folder)

    def _place_new(self, folder: Path, files: dict[str, bytes]) -> None:
        with suppress(FileExistsError):
            os.mkdir(folder.parent)
        part = folder.with_name(f".{folder.name}.part")
        _remove_if_there(part)
        os.mkdir(part)
        for file, data in files.items():
            write_atomic(part / file, data)
        os.rename(part, folder)

    def discard(self, name: str, release: int) -> int:
        """Take a release's folder away; give the bytes freed."""
        folder = self.of(name, release)
        gone = folder.with_name(f".{release}.gone")
        _remove_if_there(gone)
        os.rename(folder, gone)
        sync_folder(folder.parent)
        freed = remove(gone)
        with suppress(OSError):  # other releases of the model are there
            os.rmdir(folder.parent)
        return freed

    def tidy(self, keep: Collection[Key]) -> int:
        """Remove all that is not of the releases in `keep`, which are there: leftovers of an end, models without releases.

        Gives the bytes freed.
        """
        freed = sum(empty_folder(self.of(*key), keep=(MANIFEST, PACKED, FILES)) for key in keep)
        models: dict[str, list[str]] = {}
        for name, number in keep:
            models.setdefault(name, []).append(str(number))
        freed += sum(empty_folder(self.folder / name, keep=numbers) for name, numbers in models.items())
        return freed + empty_folder(self.folder, keep=models)


def damaged(text: str) -> BoardError:
    """Say that the store does not hold what was put there."""
    return BoardError("store-damaged", text, "install the release again")


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: Path, most: int) -> bytes:
    """Read one byte more than `most`, at most."""
    with path.open("rb") as file:
        return file.read(most + 1)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return _read(path, len(data)) == data
    except OSError:
        return False


def _remove_if_there(path: Path) -> None:
    with suppress(FileNotFoundError):
        remove(path)
