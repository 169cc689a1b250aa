"""Read `model.toml` into a release: a manifest and the paths of its files.

A release comes from outside, so its manifest is bounded, its file names are plain names, and
its files are regular files inside its folder: a link that leads out is refused.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edged.config.check import Document
from edged.errors import BugError, PublisherError, ReleaseFaults
from edged.models.rules import check_meaning, is_plain
from edged.models.schema import Alarm, Golden, Input, Manifest, Output, Quality, Smooth, Variant

__all__ = [
    "Alarm", "Golden", "Input", "Manifest", "Output", "Quality", "Release", "Smooth", "Variant",
    "is_here", "load_release", "parse_manifest", "variant_files",
]  # fmt: skip

MANIFEST = "model.toml"
ABSENT = "not on this board: its file was not fetched"  # why a variant cannot run, in words
MAX_MANIFEST_BYTES = 1 << 18  # a chain with statistics for thousands of columns stays below
# Python's TOML parser takes quadratic time for dotted keys: 40 KB of `a.a.a…` cost seconds.
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){64}""")


@dataclass(frozen=True)
class Release:
    """One version of a model, ready to be opened.

    `folder` holds `model.toml`; `files` says where each file that the manifest names really
    lies: beside it, or in the store's blobs. Of a release that came in part, the files of some variants are not among
    them, see `has`. `digest` is the SHA-256 of `model.toml`.
    """

    manifest: Manifest
    folder: Path
    digest: str
    files: Mapping[str, Path]

    def variant(self, name: str) -> Variant:
        """Give the variant called `name`; PublisherError(`no-such-variant`) names those there are."""
        for variant in self.manifest.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.manifest.variants)
        raise PublisherError("no-such-variant", f"{self.manifest.name} {self.manifest.release} has no variant `{name}`", f"one of: {known}")

    def has(self, variant: Variant) -> bool:
        """Say whether all files of a variant are here."""
        return is_here(variant, self.files)

    @property
    def here(self) -> list[Variant]:
        """Give the variants whose files are all here."""
        return [variant for variant in self.manifest.variants if self.has(variant)]

    def path_of(self, variant: Variant) -> Path:
        """Give the path of a variant's model file."""
        return self.path_of_file(variant.file)

    def path_of_file(self, name: str) -> Path:
        """Give the path of a file that the manifest names."""
        if name not in self.files:
            raise BugError("no-such-file", f"`{name}` is not a file of {self.manifest.name} {self.manifest.release}")
        return self.files[name]


def is_here(variant: Variant, files: Collection[str]) -> bool:
    """Say whether all files of a variant are among these names."""
    return all(name in files for name in variant_files(variant))


def variant_files(variant: Variant) -> list[str]:
    """Give the names of all files of a variant."""
    return [variant.file, *filter(None, (variant.head, variant.golden.file if variant.golden else ""))]


@dataclass(frozen=True)
class Examined:
    """A release folder as far as it can be read; its faults are in `document`.

    `manifest` is None where a fault forbids to build it. `files` are those that are there.
    """

    document: Document
    manifest: Manifest | None
    files: Mapping[str, Path]
    digest: str

    def refuse_faults(self) -> None:
        """Raise ReleaseFaults, by line, where there are any."""
        if self.document.faults or self.manifest is None:
            raise ReleaseFaults(sorted(self.document.faults, key=lambda fault: fault.line), self.document.file)


def load_release(folder: Path) -> Release:
    """Read a release folder that is used in place.

    Raises ReleaseFaults with every fault of the manifest and every file that is missing or
    is not a plain file of this folder, and PublisherError(`no-manifest`, `manifest-unreadable`).
    """
    examined = examine(folder)
    examined.refuse_faults()
    assert examined.manifest is not None
    return Release(examined.manifest, folder, examined.digest, examined.files)


def examine(folder: Path) -> Examined:
    """Read a release folder and note its faults; PublisherError as `load_release` where there is no manifest to judge."""
    path = folder / MANIFEST
    data = read_manifest(path)
    document, manifest = parse_manifest(data, str(path))
    files = _find_files(document, folder)
    return Examined(document, manifest, files, hashlib.sha256(data).hexdigest())


def read_manifest(path: Path) -> bytes:
    """Read at most MAX_MANIFEST_BYTES; PublisherError where there is no such regular file, or it is longer."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PublisherError("manifest-unreadable", f"{path} is not a file", "a release is a folder with a model.toml")
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise PublisherError("no-manifest", f"there is no {path}", "a release is a folder with a model.toml") from None
    except OSError as error:
        raise PublisherError("manifest-unreadable", f"{path} cannot be read: {error.strerror}", "check its owner and mode") from None
    if len(data) > MAX_MANIFEST_BYTES:
        text = f"{path} is longer than {MAX_MANIFEST_BYTES >> 10} KiB"
        raise PublisherError("manifest-unreadable", text, "a manifest holds no data")
    return data


def parse_manifest(data: bytes, file: str) -> tuple[Document, Manifest | None]:
    """Read the bytes of a `model.toml` called `file`; all faults are in the document.

    The manifest is None where a fault forbids to build it. Files are not looked at.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        document = Document(file, "")
        document.fault((), "not-utf8", f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")
        return document, None
    if _DEEP_KEY.search(text):
        document = Document(file, "")
        document.fault((), "not-toml", "has a key of 64 or more parts", "write tables")
        return document, None
    document = Document(file, text)
    if document.faults:
        return document, None
    manifest = document.check(Manifest)
    check_meaning(document)
    return document, manifest


def _find_files(document: Document, folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for place, name in _file_names(document):
        path = folder / name
        if fault := _fault_of(path, folder):
            document.fault(place, *fault)
        else:
            files[name] = path
    return files


def _file_names(document: Document) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Give each file name of the manifest that is a plain name, with its place."""
    variants = document.values.get("variants")
    for i, variant in enumerate(variants if isinstance(variants, list) else []):
        golden = variant.get("golden") if isinstance(variant, dict) else None
        places = ((("variants", i), variant, "file"), (("variants", i), variant, "head"), (("variants", i, "golden"), golden, "file"))
        for path, table, key in places:
            name = table.get(key) if isinstance(table, dict) else None
            if isinstance(name, str) and is_plain(name):
                yield (*path, key), name


def _fault_of(path: Path, folder: Path) -> tuple[str, str, str] | None:
    """Say what is wrong with a file of the release, as code, text and hint."""
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except FileNotFoundError:
        return "file-missing", f"there is no file `{path.name}` in {folder}", "put it there, or mend the name"
    except (OSError, RuntimeError):
        return "file-unreadable", f"`{path.name}` cannot be read", "check its owner and mode"
    if real.parent != folder.resolve():
        return "file-outside", f"`{path.name}` is a link to {real}, outside the folder", "copy the file into the folder"
    if not stat.S_ISREG(mode):
        return "file-unreadable", f"`{path.name}` is not a regular file", "put the file itself there"
    return None
