"""What is known of a release's variants without running them: their costs, and the SHA-256 that measurements are kept under."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

import msgspec

from edged.errors import EdgedError
from edged.models.costs import Costs, costs_of_file
from edged.models.gguf_costs import costs_of_gguf, with_head
from edged.models.linear_costs import costs_of_linear
from edged.models.manifest import MANIFEST, Release
from edged.models.packed import MAX_PACKED_BYTES, PACKED, Packed, check_seals, parse_packed, seal_file
from edged.models.schema import Variant
from edged.select.stages import asked_before

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def costs_of_release(release: Release) -> dict[str, Costs]:
    """Give the costs of each variant: as its release.json says, if that is of these files, else counted from the file.

    A variant whose file is not here, or nothing can be counted from, is left out where its release.json says nothing.
    """
    packed = _packed(release)
    costs: dict[str, Costs] = {}
    for variant in release.manifest.variants:
        known = packed.costs.get(variant.name) if packed else None
        # What an earlier version packed says less: then the file itself is better.
        counted = known if known and (known.shapes or known.text or variant.engine == "linear") else _counted(release, variant) or known
        if counted:
            costs[variant.name] = counted
    return costs


def sha256_of(release: Release, variant: str) -> str | None:
    """Give the SHA-256 that what a variant takes is kept under, in hex; None where its file is not here or cannot be read.

    It is that of its file. With texts, and in a cascade, what is done with the file decides as well, and all that does is in it.
    """
    manifest, this = release.manifest, release.variant(variant)
    own = _sha256_of_file(release, this.file)
    if own is None or (manifest.input.kind != "text" and manifest.cascade is None):
        return own
    head = _sha256_of_file(release, this.head) if this.head else None
    before = [(_sha256_of_file(release, each.file), each.head) for each in asked_before(release, variant)]
    asked = (own, head, this.context, manifest.task, manifest.input, manifest.output, before, manifest.cascade if before else None)
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


def _sha256_of_file(release: Release, file: str) -> str | None:
    """Hash a file; one of the store is named by it."""
    if file not in release.files:
        return None
    path = release.files[file]
    if _SHA256.match(path.name) and path.parent.name == "sha256":
        return path.name
    try:
        found = path.stat()
        return _hashed(path, found.st_size, found.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _hashed(path: Path, _size: int, _mtime_ns: int) -> str:
    return seal_file(path).sha256


def _packed(release: Release) -> Packed | None:
    path = release.folder / PACKED
    try:
        with path.open("rb") as file:
            packed = parse_packed(file.read(MAX_PACKED_BYTES + 1), str(path))
        check_seals(packed, release.manifest, str(path))
        files = {variant.file for variant in release.manifest.variants}.intersection(release.files)
        same = all(release.path_of_file(file).stat().st_size == packed.files[file].size for file in files)
        return packed if same and packed.files[MANIFEST].sha256 == release.digest else None
    except (OSError, EdgedError):
        return None


def _counted(release: Release, variant: Variant) -> Costs | None:
    if not release.has(variant):
        return None
    path = release.path_of(variant)
    try:
        if variant.engine == "tflite":
            return costs_of_file(path)
        if variant.engine == "linear":
            return costs_of_linear(path)
        costs = costs_of_gguf(path)
        return with_head(costs, release.path_of_file(variant.head)) if variant.head else costs
    except (OSError, EdgedError):
        return None
