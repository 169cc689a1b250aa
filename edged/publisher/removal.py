"""Releases leave the repository: boards refuse one that no target names; files that no release names are removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuf.api.metadata import TargetFile

from edged.errors import OperatorError
from edged.exchange.targets import parse_custom, parse_target_path, target_path
from edged.models.packed import MAX_PACKED_BYTES, Packed, parse_packed
from edged.publisher.layout import unwritable
from edged.publisher.metadata import Stand
from edged.publisher.orders import read_all, unknown_release
from edged.publisher.repository import Repository


@dataclass(frozen=True)
class Removed:
    """A release that is gone: how many bytes that freed, and which audiences still have orders for it."""

    model: str
    release: int
    freed: int
    ordered: list[str]


def remove(repository: Repository, model: str, release: int) -> Removed:
    """Take a release out; boards refuse it once they have the new metadata. What runs of it goes on running.

    Needs the keys of targets, snapshot and timestamp. Raises what `Repository.commit` and `Layout.locked` do, and
    OperatorError(`release-unknown`).
    """
    with repository.layout.locked():
        stand = repository.stand()
        targets = stand.targets.signed.targets
        if targets.pop(target_path(model, release), None) is None:
            raise unknown_release(model, release, targets)
        used = used_blobs(repository, stand)
        repository.commit(stand, targets=True)
        try:
            freed = repository.layout.blobs.sweep(used)
        except OSError as error:
            raise unwritable(repository.layout.folder, error) from error
        ordered = [audience for audience, desired in read_all(repository).items() if _orders(desired.models.get(model), release)]
    return Removed(model, release, freed, ordered)


def used_blobs(repository: Repository, stand: Stand) -> set[str]:
    """Give the hashes of all blobs that the targets of `stand` lead to. Raises OperatorError(`repository-damaged`)."""
    used: set[str] = set()
    for _, _, target, packed in releases(repository, stand):
        used |= {target.hashes["sha256"], *(seal.sha256 for seal in packed.files.values()), *parse_custom(target.custom).values()}
    return used


def releases(repository: Repository, stand: Stand) -> Iterator[tuple[str, int, TargetFile, Packed]]:
    """Give model, number, target and release.json of each release, sorted. Raises OperatorError(`repository-damaged`)."""
    targets = stand.targets.signed.targets
    for (model, release), path in sorted((named, path) for path in targets if (named := parse_target_path(path))):
        yield model, release, targets[path], _packed(repository, targets[path])


def _packed(repository: Repository, target: TargetFile) -> Packed:
    path = repository.layout.blobs.folder / target.hashes["sha256"]
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PACKED_BYTES + 1)
        target.verify_length_and_hashes(data)
        return parse_packed(data, str(path))
    except Exception as error:  # OSError, LengthOrHashMismatchError, PublisherError: the folder is not as it was written
        text = f"{path}, the release.json of {target.path}, cannot be used: {error}"
        raise OperatorError("repository-damaged", text, "bring the folder back from a backup") from None


def _orders(order: object, release: int) -> bool:
    return getattr(order, "release", None) == release
