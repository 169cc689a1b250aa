"""Small packed releases for tests of the store, sound and lying ones; installs in one call; a disk that ends at a chosen call."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edged.errors import EdgedError, PublisherError
from edged.models.costs import costs_of_file
from edged.models.manifest import MANIFEST, Release, load_release
from edged.models.packed import PACKED, Packed, names_of, parse_packed, seal_file
from edged.models.source import Source, source_of
from edged.models.store import Candidate, Store
from tests.releases import twice

MIB = 1 << 20
DURABLE = ("write", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir")


def seal(folder: Path) -> Path:
    """Write release.json as `edged pack` does, without running anything."""
    manifest = load_release(folder).manifest
    packed = Packed(
        name=manifest.name,
        version=manifest.version,
        release=manifest.release,
        task=manifest.task,
        files={name: seal_file(folder / name) for name in names_of(manifest)},
        costs={variant.name: costs_of_file(folder / variant.file) for variant in manifest.variants},
    )
    (folder / PACKED).write_bytes(packed.encode())
    return folder


def tiny(folder: Path, release: int = 1, comment: str = "") -> Path:
    """Make a packed release `twice` of a kilobyte; only model.toml differs between two of them."""
    twice(folder, channels=1, samples=4)
    return renumber(folder, release, comment)


def renumber(folder: Path, release: int, comment: str = "") -> Path:
    """Give a release another number, and pack it."""
    path = folder / "model.toml"
    lines = [f"release = {release}" if line.startswith("release = ") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join([*lines, comment]))
    if not (folder / PACKED).exists():
        return seal(folder)
    packed = parse_packed((folder / PACKED).read_bytes(), "")
    packed = msgspec.structs.replace(packed, release=release, files={**packed.files, MANIFEST: seal_file(path)})
    (folder / PACKED).write_bytes(packed.encode())
    return folder


def fetch(store: Store, source: Source) -> Candidate:
    """Examine and fetch; the claim is held."""
    candidate = store.examine(source)
    store.fetch(source, candidate, ignore, never)
    return candidate


def install(store: Store, path: Path) -> Release:
    """Bring a release into the store, with a claim of its own."""
    source = source_of(path)
    try:
        with store.claim():
            return store.verify(fetch(store, source), ignore, never)
    finally:
        source.close()


def ignore(_done: int) -> None:
    """Nobody looks at the progress."""


def never() -> bool:
    """Nobody cancels."""
    return False


def blobs(store: Store) -> set[str]:
    folder = store._root / "blobs" / "sha256"
    return set(os.listdir(folder)) if folder.is_dir() else set()


def everything(store: Store) -> set[str]:
    """Name all that is in the store, but what a claim makes."""
    made = {"lock", "blobs", "blobs/sha256", "incoming", "releases"}
    return {str(path.relative_to(store._root)) for path in store._root.rglob("*")} - made


def check_blobs(store: Store) -> None:
    """Nothing under a hash has other content than it says."""
    for name in blobs(store):
        assert hashlib.sha256((store._root / "blobs" / "sha256" / name).read_bytes()).hexdigest() == name


def refused(code: str, do: Callable[[], object], family: type[EdgedError] = PublisherError) -> EdgedError:
    with pytest.raises(family) as caught:
        do()
    assert caught.value.code == code, caught.value.text
    assert caught.value.hint
    assert caught.value.text.isprintable()
    return caught.value


def large(folder: Path, size: int) -> Path:
    """Make a release with a model file of so many bytes; only its size matters here."""
    tiny(folder)
    data = random.Random(1).randbytes(size)
    (folder / "twice.tflite").write_bytes(data)
    return lie(folder, lambda files: files | {"twice.tflite": {"sha256": hashlib.sha256(data).hexdigest(), "size": size}})


def lie(folder: Path, change: Callable[[dict], dict]) -> Path:
    """Let release.json say something else of its files."""
    content = msgspec.json.decode((folder / PACKED).read_bytes())
    content["files"] = change(content["files"])
    (folder / PACKED).write_bytes(msgspec.json.encode(content, order="sorted"))
    return folder


def base_packed() -> dict:
    return {"v": 1, "name": "twice", "version": "1", "release": 1, "task": "regress", "files": {}, "costs": {}}


class Cut(BaseException):
    """The process has ended here."""


@contextmanager
def cut_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let durable calls work until the one with this number; it and all later ones end the process, so no cleaning up happens either.

    Gives a list whose only item counts the calls so far.
    """
    count = [0]

    def counted(real: Any) -> Any:
        def durable(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] > call:
                raise Cut
            return real(*args, **options)

        return durable

    with monkeypatch.context() as patch:
        for name in DURABLE:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield count
