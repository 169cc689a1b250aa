"""The board's own store of releases: content-addressed, written so that a power cut leaves old or new.

Under {state_dir}/models/:

    blobs/sha256/{hex}            every file of every release, once; read-only
    incoming/{hex}                bytes on their way; renamed to blobs/ only when size and hash are right
    releases/{name}/{release}/    model.toml and release.json, whose hashes name the blobs
    releases/{name}/active        the number of the release that runs

Install writes in this order: blobs, the release's folder (under a name with a dot, then
renamed), `active`. Each step is write, fsync, rename, fsync of the folder; a step that was
cut off is done again by the next install. One process writes at a time (`lock`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edged.atomic import sync_folder, write_atomic
from edged.config.schema import NAME
from edged.errors import BoardError, OperatorError, PublisherError
from edged.models.manifest import MANIFEST, Release, load_release, parse_manifest, read_manifest
from edged.models.packed import MAX_PACKED_BYTES, PACKED, FileSeal, Packed, check_seals, parse_packed

_RESERVE = 4 << 20  # left free beside the blobs: manifests, and the board's other small writes
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Installed:
    """One release in the store. `size` counts the bytes of its files; `folder` holds its model.toml and release.json."""

    name: str
    release: int
    version: str
    task: str
    variants: tuple[str, ...]
    size: int
    active: bool
    folder: Path


class Store:
    """Releases under the daemon's state folder; the first install makes what is missing there."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / "models"
        self._blobs = self._root / "blobs" / "sha256"
        self._releases = self._root / "releases"

    def install(self, folder: Path) -> Installed:
        """Take a packed release folder into the store and make it the active one.

        The same content again changes nothing but mends what is missing.
        Raises PublisherError: ReleaseFaults, `not-packed`, `packed-malformed`, `packed-stale`,
        `file-changed` (size or hash is not what release.json says), `release-not-rising`;
        BoardError(`no-space`, `store-unwritable`). After an error the active release is the old one.
        """
        release = load_release(folder)
        packed_bytes = _read_packed(folder)
        packed = parse_packed(packed_bytes, str(folder / PACKED))
        check_seals(packed, release.manifest, str(folder / PACKED))
        if release.digest != packed.files[MANIFEST].sha256:
            raise _changed(MANIFEST)
        with self._writing():
            self._check_number(packed, packed_bytes)
            sources = {**release.files, MANIFEST: folder / MANIFEST}
            self._take(packed, sources)
            self._place(packed, packed_bytes)
            if (self._active_number(packed.name) or 0) < packed.release:
                write_atomic(self._releases / packed.name / "active", str(packed.release).encode())
        return self._installed(packed)

    def list(self) -> tuple[Installed, ...]:
        """Give all releases, by name, the newest first. Raises BoardError(`store-damaged`, `store-unreadable`)."""
        with self._reading():
            found = [(name, number) for name in self._names() for number in reversed(self._numbers(name))]
            return tuple(self._installed(self._packed(*each)) for each in found)

    def active(self, name: str) -> Release:
        """Give the active release of a model, its files in the blobs.

        Raises OperatorError(`no-such-model`) and BoardError(`store-damaged`, `store-unreadable`).
        """
        with self._reading():
            return self._active(name)

    def packed(self, name: str) -> Packed:
        """Give the release.json of a model's active release; errors as `active`."""
        with self._reading():
            return self._packed(name, self._active(name).manifest.release)

    def remove(self, name: str, release: int) -> None:
        """Take a release that is not active out of the store, and the blobs that no other needs.

        Raises OperatorError(`no-such-release`, `release-active`).
        """
        with self._writing():
            if release not in self._numbers(name):
                raise OperatorError("no-such-release", f"there is no release {release} of {_shown(name)}", "see `edged models list`")
            if release == self._active_number(name):
                raise OperatorError("release-active", f"{name} {release} is the active release", "install a newer one first")
            folder = self._folder(name, release)
            gone = folder.with_name(f".{release}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            sync_folder(folder.parent)
            shutil.rmtree(gone)
            self._sweep()

    # Below here: the steps of the above.

    def _active(self, name: str) -> Release:
        number = self._active_number(name)
        if number is None:
            known = ", ".join(self._names())
            hint = f"installed are: {known}" if known else "put one there with `edged models install DIR`"
            raise OperatorError("no-such-model", f"there is no model {_shown(name)} in {self._root}", hint)
        folder = self._folder(name, number)
        packed = self._packed(name, number)
        data = read_manifest(folder / MANIFEST)
        digest = hashlib.sha256(data).hexdigest()
        document, manifest = parse_manifest(data, str(folder / MANIFEST))
        if manifest is None or document.faults or digest != packed.files[MANIFEST].sha256:
            raise _damaged(f"{folder / MANIFEST} is not what was installed")
        for file, seal in packed.files.items():
            if _size(self._blob(seal)) != seal.size:
                raise _damaged(f"{self._blob(seal)}, which is {file} of {name} {number}, is missing or cut short")
        return Release(manifest, folder, digest, {file: self._blob(seal) for file, seal in packed.files.items()})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock; an OSError inside means that the store cannot be written."""
        try:
            for folder in (self._blobs, self._root / "incoming", self._releases):
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(folder.parent)
            sync_folder(self._root)
            with (self._root / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            text = f"the store at {self._root} cannot be written: {error.strerror or error}"
            raise BoardError("store-unwritable", text, "check free space and the owner of the folder") from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"the store at {self._root} cannot be read: {error.strerror or error}"
            raise BoardError("store-unreadable", text, "run it as a user who may read it") from None

    def _check_number(self, packed: Packed, packed_bytes: bytes) -> None:
        numbers = self._numbers(packed.name)
        if not numbers or packed.release > max(numbers):
            return
        if packed.release in numbers and (self._folder(packed.name, packed.release) / PACKED).read_bytes() == packed_bytes:
            return
        text = f"{packed.name} {packed.release} would follow {max(numbers)}, which is installed, with other content"
        raise PublisherError("release-not-rising", text, f"give it a release number above {max(numbers)}, and pack it again")

    def _take(self, packed: Packed, sources: dict[str, Path]) -> None:
        """Bring every file that is not there yet into the blobs; sizes and space are checked before the first byte."""
        missing = {seal.sha256: (file, seal) for file, seal in packed.files.items() if _size(self._blob(seal)) != seal.size}
        for file, seal in missing.values():
            if _size(sources[file]) != seal.size:
                raise _changed(file)
        needed = sum(seal.size for _, seal in missing.values()) + _RESERVE
        free = shutil.disk_usage(self._root).free
        if missing and needed > free:
            text = f"{packed.name} {packed.release} needs {needed >> 20} MiB, and {free >> 20} MiB are free at {self._root}"
            raise BoardError("no-space", text, "remove releases that are not used, or other files")
        for file, seal in missing.values():
            self._copy(sources[file], file, seal)
        sync_folder(self._blobs)

    def _copy(self, source: Path, file: str, seal: FileSeal) -> None:
        part = self._root / "incoming" / seal.sha256
        part.unlink(missing_ok=True)
        digest, left = hashlib.sha256(), seal.size
        try:
            reader = source.open("rb")
        except OSError:  # not the store's fault
            raise _changed(file) from None
        try:
            with reader, part.open("wb") as writer:
                while left and (chunk := reader.read(min(left, _CHUNK))):
                    writer.write(chunk)
                    digest.update(chunk)
                    left -= len(chunk)
                writer.flush()
                os.fsync(writer.fileno())
            if left or digest.hexdigest() != seal.sha256:
                raise _changed(file)
            part.chmod(0o444)
            part.replace(self._blob(seal))
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _place(self, packed: Packed, packed_bytes: bytes) -> None:
        """Put the release's folder there, whole or not at all."""
        folder = self._folder(packed.name, packed.release)
        manifest = self._blob(packed.files[MANIFEST]).read_bytes()
        if folder.is_dir():
            write_atomic(folder / MANIFEST, manifest)
            return
        part = folder.with_name(f".{packed.release}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_atomic(part / MANIFEST, manifest)
        write_atomic(part / PACKED, packed_bytes)
        part.rename(folder)
        sync_folder(folder.parent)
        sync_folder(self._releases)

    def _sweep(self) -> None:
        """Delete the blobs that no release names."""
        used = {seal.sha256 for name in self._names() for n in self._numbers(name) for seal in self._packed(name, n).files.values()}
        for blob in self._blobs.iterdir():
            if blob.name not in used:
                blob.unlink()

    def _blob(self, seal: FileSeal) -> Path:
        return self._blobs / seal.sha256

    def _folder(self, name: str, release: int) -> Path:
        return self._releases / name / str(release)

    def _names(self) -> tuple[str, ...]:
        if not self._releases.is_dir():
            return ()
        return tuple(sorted(each.name for each in self._releases.iterdir() if re.match(NAME, each.name) and each.is_dir()))

    def _numbers(self, name: str) -> tuple[int, ...]:
        """Give the releases of a model; none for a name that no model can have."""
        if not re.match(NAME, name) or not (self._releases / name).is_dir():
            return ()
        names = (each.name for each in (self._releases / name).iterdir())
        return tuple(sorted(int(each) for each in names if re.fullmatch(r"[1-9][0-9]{0,15}", each)))

    def _active_number(self, name: str) -> int | None:
        numbers = self._numbers(name)
        if not numbers:
            return None
        try:
            text = (self._releases / name / "active").read_text("ascii")
        except FileNotFoundError:
            return None  # an install was cut off before its last step
        except (OSError, ValueError):
            text = ""
        if not re.fullmatch(r"[1-9][0-9]{0,15}", text) or int(text) not in numbers:
            raise _damaged(f"{self._releases / name / 'active'} names no release")
        return int(text)

    def _packed(self, name: str, release: int) -> Packed:
        folder = self._folder(name, release)
        try:
            packed = parse_packed(_read_packed(folder), str(folder / PACKED))
        except PublisherError as error:
            raise _damaged(error.text) from None
        if (packed.name, packed.release) != (name, release) or MANIFEST not in packed.files:
            raise _damaged(f"{folder / PACKED} is of {packed.name} {packed.release}")
        return packed

    def _installed(self, packed: Packed) -> Installed:
        return Installed(
            name=packed.name,
            release=packed.release,
            version=packed.version,
            task=packed.task,
            variants=tuple(packed.costs),
            size=sum(seal.size for seal in packed.files.values()),
            active=packed.release == self._active_number(packed.name),
            folder=self._folder(packed.name, packed.release),
        )


def _read_packed(folder: Path) -> bytes:
    try:
        with (folder / PACKED).open("rb") as file:
            return file.read(MAX_PACKED_BYTES + 1)
    except FileNotFoundError:
        raise PublisherError("not-packed", f"there is no {folder / PACKED}", f"run `edged pack {folder}` first") from None
    except OSError as error:
        raise PublisherError("not-packed", f"{folder / PACKED} cannot be read: {error.strerror}", "check its owner and mode") from None


def _size(path: Path) -> int:
    """Give the size of a file, -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _shown(name: str) -> str:
    return f"`{name}`" if re.match(NAME, name) else repr(name[:64])


def _changed(file: str) -> PublisherError:
    return PublisherError("file-changed", f"`{file}` is not the file that was packed", "copy the release again, or pack it again")


def _damaged(text: str) -> BoardError:
    return BoardError("store-damaged", text, "install the release again")
