"""Releases that are far away: bytes that come by pieces and stay over an end, for tests of pushes and of partial releases."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from edged.atomic import sync_folder, write_all, write_atomic
from edged.errors import EdgedError
from edged.models.blobs import Watch
from edged.models.manifest import MANIFEST
from edged.models.packed import FileSeal
from edged.models.source import FolderSource
from edged.models.store import Candidate, Store
from tests.releases import twice
from tests.stores import ignore, never, seal

PIECE = 1 << 10
Before = Callable[[str, int], None]


def varied(folder: Path, release: int = 1, **kib: int) -> Path:
    """Make a packed release `twice` with a variant for each name, whose file has so many KiB, each with a golden of its own."""
    chance = random.Random(release)
    twice(folder, channels=1, samples=4)
    graph, path = (folder / "twice.tflite").read_bytes(), folder / "model.toml"
    (folder / "twice.tflite").unlink()
    head = path.read_text().partition("[[variants]]")[0].replace("release = 1", f"release = {release}")
    tables = []
    for place, (name, size) in enumerate(kib.items()):
        (folder / f"{name}.tflite").write_bytes(graph + chance.randbytes((size << 10) - len(graph)))
        windows = np.full((1, 4), place + 1 + release, np.float32)
        np.savez(folder / f"golden-{name}.npz", inputs=windows, outputs=2 * windows)
        tables.append(
            f'[[variants]]\nname = "{name}"\nengine = "tflite"\nfile = "{name}.tflite"\nquality = {0.9 - place / 100}\n'
            f'golden = {{ file = "golden-{name}.npz", atol = 1e-4 }}\n'
        )
    path.write_text(head + "\n".join(tables))
    return seal(folder)


class Far(FolderSource):
    """A release folder as a source that is far away; a Remote.

    before   called with the file and the number of each piece before it comes; what it raises ends the transfer
    asked    a file that says which pieces came, also those of a process that ended
    """

    def __init__(self, folder: Path, asked: Path | None = None, before: Before = lambda _file, _number: None) -> None:
        super().__init__(folder)
        self.asked = asked or folder.with_name(f"{folder.name}.asked")
        self.before = before
        self.closed = 0

    def bring(self, file: str, seal: FileSeal, folder: Path, watch: Watch) -> Path:
        part, map_ = folder / f"{seal.sha256}.part", folder / f"{seal.sha256}.map"
        count = max(1, -(-seal.size // PIECE))
        there = _there(part, map_, seal.size, count)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, seal.size)
            watch.did(sum(min(PIECE, seal.size - number * PIECE) for number in there))
            for number in range(count):
                if number not in there:
                    watch.ask()
                    data = self._piece(file, number)
                    os.lseek(fd, number * PIECE, os.SEEK_SET)
                    write_all(fd, data)
                    os.fsync(fd)
                    there.add(number)
                    write_atomic(map_, bytes(each in there for each in range(count)))
                    watch.did(len(data))
        finally:
            os.close(fd)
        sync_folder(folder)
        return part

    def close(self) -> None:
        self.closed += 1

    def _piece(self, file: str, number: int) -> bytes:
        self.before(file, number)
        with self.asked.open("ab") as log:
            log.write(f"{file} {number}\n".encode())
        with self.open(file) as opened:
            opened.seek(number * PIECE)
            return opened.read(PIECE)


def _there(part: Path, map_: Path, size: int, count: int) -> set[int]:
    """Give the pieces that came before; none where either file is not what it must be."""
    with suppress(FileNotFoundError):
        marks = map_.read_bytes()
        if part.stat().st_size == size and len(marks) == count:
            return {number for number in range(count) if marks[number]}
    return set()


def pieces(source: Far) -> Counter[str]:
    """Count how often each piece of a source came."""
    return Counter(source.asked.read_text().splitlines()) if source.asked.exists() else Counter()


def files(source: Far) -> set[str]:
    """Name the files of which something came, but model.toml."""
    return {each.split()[0] for each in pieces(source)} - {MANIFEST}


def fails_at(file: str, number: int, *errors: EdgedError) -> Before:
    """Let a piece fail with one error after the other, before it comes."""
    left = list(errors)

    def before(name: str, at: int) -> None:
        if (name, at) == (file, number) and left:
            raise left.pop(0)

    return before


def take_in(store: Store, source: FolderSource, *variants: str) -> Candidate:
    """Bring these variants of a release into the store, or all; the claim is held."""
    candidate = store.examine(source)
    candidate = candidate.narrowed(variants) if variants else candidate
    store.fetch(source, candidate, ignore, never)
    store.verify(candidate, ignore, never)
    return candidate
