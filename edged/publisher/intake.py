"""Releases come into the repository: files under their hashes, piece indexes, then the signed targets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
from tuf.api.metadata import TargetFile, Targets

from edged.errors import PublisherError
from edged.exchange.pieces import PIECE, index_bytes, index_of
from edged.exchange.targets import Custom, parse_custom, target_path
from edged.models.blobs import Blobs, Watch
from edged.models.candidate import Candidate, changed, examine
from edged.models.packed import FileSeal
from edged.models.source import Source
from edged.publisher.layout import unwritable
from edged.publisher.metadata import Stand
from edged.publisher.repository import Repository


@dataclass(frozen=True)
class Added:
    """A release in the repository; `new` where it was not there before."""

    model: str
    release: int
    version: str
    digest: str
    size: int
    new: bool


def add(
    repository: Repository, sources: Sequence[Source], progress: Callable[[int, int], None], cancelled: Callable[[], bool]
) -> list[Added]:
    """Take releases in, all of them or none; `progress` hears how many bytes of how many are copied.

    The keys of targets, snapshot and timestamp are needed. Raises what `examine`, `Repository.commit` and
    `Layout.locked` do, PublisherError(`release-exists`, `file-changed`), Cancelled, BoardError(`repository-unwritable`).
    """
    with repository.layout.locked():
        stand = repository.stand()
        candidates = [examine(source) for source in sources]
        added = [_judge(stand.targets.signed, candidate) for candidate in candidates]
        _not_twice(candidates)
        if any(each.new for each in added):
            repository.signers(stand, "targets")  # before gigabytes are copied
            _take_all(repository, stand, [*zip(sources, candidates)], progress, cancelled)
            repository.commit(stand, targets=True)
    return added


def _judge(targets: Targets, candidate: Candidate) -> Added:
    """Say whether a release is new; PublisherError where another one has its number."""
    packed = candidate.packed
    present = targets.targets.get(target_path(packed.name, packed.release))
    if present is not None and present.hashes.get("sha256") != candidate.digest:
        raise _exists(packed.name, packed.release, "the repository has")
    size = sum(seal.size for seal in packed.files.values())
    return Added(packed.name, packed.release, packed.version, candidate.digest, size, present is None)


def _not_twice(candidates: Sequence[Candidate]) -> None:
    """Raise PublisherError where two of the releases have one number and other content."""
    seen: dict[tuple[str, int], str] = {}
    for candidate in candidates:
        key = candidate.packed.name, candidate.packed.release
        if seen.setdefault(key, candidate.digest) != candidate.digest:
            raise _exists(*key, "this command also names")


def _exists(model: str, release: int, who: str) -> PublisherError:
    text = f"{who} a release {release} of {model} with other content"
    return PublisherError("release-exists", text, "give the new one the next number in its model.toml, and run `edged pack` again")


def _take_all(
    repository: Repository,
    stand: Stand,
    releases: Sequence[tuple[Source, Candidate]],
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> None:
    blobs, targets = repository.layout.blobs, stand.targets.signed
    known = _known_indexes(targets)
    total = sum(seal.size for _, candidate in releases for seal in candidate.packed.files.values() if not blobs.has(seal))
    watch = Watch(lambda done: progress(done, total), cancelled)
    try:
        blobs.clear_incoming()
        for source, candidate in releases:
            target = _take(blobs, source, candidate, known, watch)
            targets.targets[target.path] = target
    except OSError as error:
        raise unwritable(repository.layout.folder, error) from error


def _take(blobs: Blobs, source: Source, candidate: Candidate, known: dict[str, str], watch: Watch) -> TargetFile:
    """Bring the files of a release in; give its target. Raises OSError, PublisherError(`file-changed`), Cancelled."""
    packed, pieces = candidate.packed, {}
    for file, seal in packed.files.items():
        index = _take_file(blobs, source, file, seal, known.get(seal.sha256, ""), watch)
        if index:
            pieces[seal.sha256] = known[seal.sha256] = index
    _take_bytes(blobs, candidate.packed_bytes)
    custom = {"custom": msgspec.to_builtins(Custom.of(pieces))} if pieces else {}
    hashes = {"sha256": candidate.digest}
    return TargetFile(len(candidate.packed_bytes), hashes, target_path(packed.name, packed.release), custom)


def _take_file(blobs: Blobs, source: Source, file: str, seal: FileSeal, index: str, watch: Watch) -> str:
    """Bring one file in; give the SHA-256 of its index, or nothing where it has one piece only."""
    needs_index = index_bytes(seal.size) > 0
    if not blobs.has(seal):
        with source.open(file) as reader:
            indexing = Indexing(reader)
            if not blobs.take(indexing, seal, watch):  # type: ignore[arg-type]  # it reads, and nothing else is asked of it
                raise changed(file, source.name)
        return _take_bytes(blobs, indexing.index) if needs_index else ""
    if not needs_index or index:
        return index
    with blobs.path(seal).open("rb") as reader:
        return _take_bytes(blobs, index_of(reader))


def _take_bytes(blobs: Blobs, data: bytes) -> str:
    """Bring in bytes that are in memory; give their SHA-256."""
    seal = FileSeal(hashlib.sha256(data).hexdigest(), len(data))
    if not blobs.has(seal):
        blobs.take(io.BytesIO(data), seal, Watch(lambda _: None, lambda: False))
    return seal.sha256


def _known_indexes(targets: Targets) -> dict[str, str]:
    return {file: index for target in targets.targets.values() for file, index in parse_custom(target.custom).items()}


class Indexing:
    """A reader that makes the piece index of what is read through it, so that a file is read once. Nothing is kept but hashes."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._new = hashlib.sha256
        self._piece = self._new()
        self._left = PIECE
        self._hashes: list[bytes] = []

    def read(self, size: int) -> bytes:
        """Read, see `io.RawIOBase.read`."""
        data = self._reader.read(size)
        view = memoryview(data)
        while view:
            part = view[: self._left]
            self._piece.update(part)
            self._left -= len(part)
            view = view[len(part) :]
            if not self._left:
                self._end_piece()
        return data

    @property
    def index(self) -> bytes:
        """Give the index, once all was read."""
        if self._left < PIECE or not self._hashes:
            self._end_piece()
        return b"".join(self._hashes)

    def _end_piece(self) -> None:
        self._hashes.append(self._piece.digest())
        self._piece, self._left = self._new(), PIECE
