"""A release that is to be taken in: all of it is checked but the bytes of its large files. Nothing is written."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace

from edged.errors import PublisherError, ReleaseFaults
from edged.models.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from edged.models.packed import PACKED, FileSeal, Packed, check_seals, names_of, parse_packed
from edged.models.source import Source


@dataclass(frozen=True)
class Candidate:
    """What is known of a release from its release.json and model.toml.

    digest   the SHA-256 of release.json, in hex
    wanted   names of the files that are to be in the store, or are there: `model.toml`, and those of some variants or of all
    """

    packed: Packed
    packed_bytes: bytes
    manifest: Manifest
    digest: str
    wanted: frozenset[str]

    @classmethod
    def of(cls, packed: Packed, packed_bytes: bytes, manifest: Manifest, wanted: Collection[str] | None = None) -> Candidate:
        """Join what was read; all files are wanted, or these."""
        names = frozenset(packed.files if wanted is None else wanted)
        return cls(packed, packed_bytes, manifest, hashlib.sha256(packed_bytes).hexdigest(), names)

    @property
    def seals(self) -> dict[str, FileSeal]:
        """Give the seals of the files that are wanted, by name."""
        return {file: seal for file, seal in self.packed.files.items() if file in self.wanted}

    @property
    def is_whole(self) -> bool:
        """Say whether all files are wanted."""
        return len(self.wanted) == len(self.packed.files)

    def whole(self) -> Candidate:
        """Want all files."""
        return replace(self, wanted=frozenset(self.packed.files))

    def narrowed(self, variants: Collection[str]) -> Candidate:
        """Want `model.toml`, and the files and goldens of these variants."""
        return replace(self, wanted=frozenset(names_of(self.manifest, variants)))


def examine(source: Source) -> Candidate:
    """Read what says what a release is, and hold the sizes of its files against it.

    Raises what the source raises, ReleaseFaults, and PublisherError: `packed-malformed`,
    `packed-stale`, `file-changed`.
    """
    place = f"{PACKED} of {source.name}"
    packed_bytes = source.packed()
    packed = parse_packed(packed_bytes, place)
    manifest = _manifest(source, packed)
    check_seals(packed, manifest, place)
    if extra := packed.costs.keys() - {variant.name for variant in manifest.variants}:
        text = f"{place} has costs of {min(extra)[:64]!r}, which is no variant of the model.toml beside it"
        raise PublisherError("packed-stale", text, "run `edged pack` on the folder again")
    for file, seal in packed.files.items():
        if (size := source.size(file)) != seal.size:
            raise changed(file, source.name, f"it has {size} bytes, and {seal.size} were sealed")
    return Candidate.of(packed, packed_bytes, manifest)


def _manifest(source: Source, packed: Packed) -> Manifest:
    seal = packed.files.get(MANIFEST)
    if seal is None:
        raise PublisherError("packed-stale", f"{PACKED} of {source.name} names no {MANIFEST}", "run `edged pack` on the folder again")
    if seal.size > MAX_MANIFEST_BYTES:
        text = f"{MANIFEST} of {source.name} is longer than {MAX_MANIFEST_BYTES >> 10} KiB"
        raise PublisherError("manifest-unreadable", text, "a manifest holds no data")
    with source.open(MANIFEST) as reader:
        data = reader.read(MAX_MANIFEST_BYTES + 1)
    if not is_sealed(data, seal):
        raise changed(MANIFEST, source.name)
    document, manifest = parse_manifest(data, f"{source.name}/{MANIFEST}")
    if document.faults or manifest is None:
        raise ReleaseFaults(sorted(document.faults, key=lambda fault: fault.line), document.file)
    return manifest


def is_sealed(data: bytes, seal: FileSeal) -> bool:
    """Say whether these are the bytes that were sealed."""
    return len(data) == seal.size and hashlib.sha256(data).hexdigest() == seal.sha256


def changed(file: str, source: str, why: str = "its content differs") -> PublisherError:
    """Say that a file is not the one that was packed."""
    text = f"`{file}` of {source} is not the file that was packed: {why}"
    return PublisherError("file-changed", text, "copy the release again, or pack it again")
