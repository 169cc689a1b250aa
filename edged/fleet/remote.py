"""A release that is far away: what says what it is came already, its files come by pieces."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edged.atomic import write_atomic
from edged.errors import PublisherError
from edged.exchange.pieces import count_pieces
from edged.fleet.transfer.transfer import Transfer
from edged.fleet.trust import Listed
from edged.models.blobs import Watch
from edged.models.manifest import MANIFEST, MAX_MANIFEST_BYTES
from edged.models.packed import MAX_PACKED_BYTES, PACKED, FileSeal, Packed, parse_packed
from edged.models.source import missing


class RemoteSource:
    """See `models.source.Remote`. `name` says whose order it is."""

    def __init__(self, name: str, listed: Listed, packed_bytes: bytes, packed: Packed, manifest: bytes, transfer: Transfer) -> None:
        self.name = name
        self._pieces = listed.pieces
        self._packed_bytes, self._packed, self._manifest = packed_bytes, packed, manifest
        self._transfer = transfer

    def packed(self) -> bytes:
        """Give the bytes of release.json."""
        return self._packed_bytes

    def open(self, file: str) -> BinaryIO:
        """Open model.toml; the others are not here yet. Raises PublisherError(`file-changed`)."""
        if file != MANIFEST:
            raise missing(file, self.name)
        return io.BytesIO(self._manifest)

    def size(self, file: str) -> int:
        """Give the size of a file, which is signed. Raises PublisherError(`file-changed`)."""
        if file not in self._packed.files:
            raise missing(file, self.name)
        return self._packed.files[file].size

    def bring(self, file: str, seal: FileSeal, folder: Path, watch: Watch) -> Path:
        """Leave a file in `folder`, see `models.source.Remote`. Raises what `Transfer.bring` raises, PublisherError(`pieces-unlisted`)."""
        if file == MANIFEST:
            path = folder / f"{seal.sha256}.part"
            write_atomic(path, self._manifest)
            watch.did(len(self._manifest))
            return path
        index = self._pieces.get(seal.sha256, "")
        if not index and count_pieces(seal.size) > 1:
            text = f"the repository's list has no piece index for `{file}` of {self._packed.name} {self._packed.release}"
            raise PublisherError("pieces-unlisted", text, "the fleet manager must add the release again: `edged fleet add DIR RELEASE`")
        done = 0

        def progress(total: int) -> None:
            nonlocal done
            watch.did(total - done)
            done = total

        return self._transfer.bring(seal, index, progress, watch.cancelled)

    def close(self) -> None:
        """Nothing is kept open."""


def look_up(name: str, listed: Listed, transfer: Transfer, cancelled: Callable[[], bool]) -> RemoteSource:
    """Fetch what says what a release is: its release.json and model.toml.

    Raises what `Transfer.small` raises, and PublisherError(`packed-malformed`, `packed-stale`, `manifest-unreadable`).
    """
    if listed.size > MAX_PACKED_BYTES:
        text = f"the {PACKED} of {name} has {listed.size} bytes"
        raise PublisherError("packed-malformed", text, "run `edged pack` on the folder again, and add it again")
    packed_bytes = transfer.small(listed.sha256, listed.size, cancelled)
    packed = parse_packed(packed_bytes, f"{PACKED} of {name}")
    seal = packed.files.get(MANIFEST)
    if seal is None or seal.size > MAX_MANIFEST_BYTES:
        text = f"{PACKED} of {name} names no {MANIFEST} of a sound size"
        raise PublisherError("packed-stale", text, "run `edged pack` on the folder again, and add it again")
    manifest = transfer.small(seal.sha256, seal.size, cancelled)
    return RemoteSource(name, listed, packed_bytes, packed, manifest, transfer)
