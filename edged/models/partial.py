"""Which files of a release are in the store, where not all of them are: `files.json` in its folder.

A sorted JSON list of names, no spaces, no newline at the end: `model.toml`, and the files and goldens of the variants
that were worth fetching. It is there for such a release only.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from edged.models.manifest import MANIFEST, Manifest, is_here

FILES = "files.json"
MAX_FILES_BYTES = 64 << 10  # 193 names at most


def encode_files(names: Collection[str]) -> bytes:
    """Write the list."""
    return msgspec.json.encode(sorted(names))


def parse_files(data: bytes, known: Collection[str]) -> frozenset[str]:
    """Read a list of names that are all among `known`; ValueError for anything else."""
    if len(data) > MAX_FILES_BYTES:
        raise ValueError(f"it is longer than {MAX_FILES_BYTES >> 10} KiB")
    try:
        names = msgspec.json.decode(data, type=list[str])
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if encode_files(set(names)) != data:
        raise ValueError("its names are not sorted, each once, no spaces")
    if strange := set(names) - set(known):
        raise ValueError(f"{min(strange)[:60]!r} is no file of the release")
    return frozenset(names)


def is_sensible(names: Collection[str], manifest: Manifest) -> bool:
    """Say whether something can be run with these files: the manifest, and all that one variant needs."""
    return MANIFEST in names and any(is_here(variant, names) for variant in manifest.variants)
