"""Write a packed release as one file, `.edgedpack`: exactly what was sealed, and the same bytes every time.

How it is made up is said in models/edgedpack.py, which reads it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from edged.atomic import sync_folder
from edged.errors import BoardError, OperatorError
from edged.models.candidate import changed
from edged.models.edgedpack import SUFFIX
from edged.models.packed import PACKED, FileSeal, Packed
from edged.models.source import Source

_PIECE = 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP knows
_UNIX = 3


def check_target(target: Path) -> None:
    """Raise OperatorError(`bad-target`) where the file is not to be called `.edgedpack`."""
    if target.suffix != SUFFIX:
        hint = f"call it {target.stem or 'release'}{SUFFIX}"
        raise OperatorError("bad-target", f"{target} does not end with {SUFFIX}", hint)


def pack_into(source: Source, packed: Packed, target: Path) -> int:
    """Write the release to `target`, whole or not at all; give its size in bytes.

    Raises PublisherError(`file-changed`) where a file is not the one that was sealed, and what the
    source raises; BoardError(`target-unwritable`); OperatorError(`bad-target`). Then an older target is unchanged.
    """
    check_target(target)
    part = target.with_name(f".{target.name}.part")
    try:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(fd, "w+b") as file:
                _write(file, source, packed)
                file.flush()
                os.fsync(fd)
                size = os.fstat(fd).st_size
            os.replace(part, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
        sync_folder(target.parent)
    except OSError as error:
        text = f"{target} cannot be written: {error.strerror or error}"
        raise BoardError("target-unwritable", text, "check the folder, its owner and its free space") from None
    return size


def _write(file: BinaryIO, source: Source, packed: Packed) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        data = packed.encode()
        with archive.open(_entry(PACKED, len(data)), "w") as entry:
            entry.write(data)
        for name, seal in sorted(packed.files.items()):
            with archive.open(_entry(name, seal.size), "w") as entry, source.open(name) as reader:
                if not _copy(reader, entry, seal):
                    raise changed(name, source.name)


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    """Say of a file what does not depend on this machine; where its size says so, it gets the fields of ZIP64."""
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system = _UNIX
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.file_size = size
    return entry


def _copy(reader: BinaryIO, entry: IO[bytes], seal: FileSeal) -> bool:
    """Copy as many bytes as were sealed, and say whether it is these, and all of them."""
    digest, left = hashlib.sha256(), seal.size
    while left and (piece := reader.read(min(left, _PIECE))):
        entry.write(piece)
        digest.update(piece)
        left -= len(piece)
    return not left and not reader.read(1) and digest.hexdigest() == seal.sha256
