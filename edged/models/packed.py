"""`release.json`: what `edged pack` found to be sound, sealed by size and SHA-256 of each file.

Canonical JSON (UTF-8, keys sorted, no spaces, no newline at the end), so that the same folder
gives the same bytes everywhere and its SHA-256 names the release:

    {"costs":{VARIANT:{…}},"files":{FILE:{"sha256":HEX,"size":BYTES}},"name":…,"release":…,"task":…,"v":1,"version":…}

`files` holds `model.toml` and every file that it names, and no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.config.schema import Name
from edged.errors import PublisherError
from edged.models.costs import Costs
from edged.models.manifest import MANIFEST, variant_files
from edged.models.rules import is_plain
from edged.models.schema import MAX_RELEASE, Manifest, Task

PACKED = "release.json"
MAX_PACKED_BYTES = 1 << 20
_CHUNK = 1 << 20

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class FileSeal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size in bytes and SHA-256 in hex of one file."""

    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=1 << 50)]


class Packed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of `release.json`."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    name: Name
    version: str
    release: Annotated[int, Meta(ge=1, le=MAX_RELEASE)]
    task: Task
    files: dict[str, FileSeal]
    costs: dict[str, Costs]

    def encode(self) -> bytes:
        """Write canonical JSON."""
        return msgspec.json.encode(self, order="sorted")


def parse_packed(data: bytes, file: str) -> Packed:
    """Read the bytes of a `release.json` called `file`; PublisherError(`packed-malformed`) for anything else."""
    try:
        if len(data) > MAX_PACKED_BYTES:
            raise ValueError(f"it is longer than {MAX_PACKED_BYTES >> 10} KiB")
        packed = msgspec.json.decode(data, type=Packed)
        # Where a key is there twice the last one counts, and other readers may take the first.
        if msgspec.json.encode(msgspec.json.decode(data), order="sorted") != data:
            raise ValueError("it is not canonical: keys sorted, each once, no spaces")
        bad = next((name for name in packed.files if not is_plain(name)), None)
        if bad is not None:
            raise ValueError(f"{bad[:60]!r} is not a plain file name")
    except (ValueError, RecursionError) as error:
        text = f"{file} is not a release.json: {str(error)[:200]!r}"
        raise PublisherError("packed-malformed", text, "run `edged pack` on the folder again") from None
    return packed


def names_of(manifest: Manifest, variants: Collection[str] | None = None) -> list[str]:
    """Give the names of all files of a release, or of these variants of it, sorted; `model.toml` is among them."""
    taken = [each for each in manifest.variants if variants is None or each.name in variants]
    return sorted({MANIFEST, *(name for variant in taken for name in variant_files(variant))})


def seal_file(path: Path) -> FileSeal:
    """Hash a file in pieces; OSError where it cannot be read."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileSeal(digest.hexdigest(), size)


def check_seals(packed: Packed, manifest: Manifest, file: str) -> None:
    """Raise PublisherError(`packed-stale`) where a release.json speaks of another manifest than the one beside it."""
    same = (packed.name, packed.version, packed.release, packed.task) == (manifest.name, manifest.version, manifest.release, manifest.task)
    if not same or sorted(packed.files) != names_of(manifest):
        raise PublisherError("packed-stale", f"{file} does not fit the model.toml beside it", "run `edged pack` on the folder again")
