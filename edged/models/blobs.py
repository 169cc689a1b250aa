"""Every file of every release once, under the name of its content, and never anything else under such a name.

blobs/sha256/{hex} is whole, right and read-only. incoming/{hex} is on its way, and is renamed to
the former when it is on disk, and its size and hash are right. incoming/{hex}.part is on its way from far away: it has its
full size from the beginning on, {hex}.map says which pieces of it are there, and an end leaves both to be gone on with.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from edged.atomic import sync_folder, write_all
from edged.errors import Cancelled
from edged.models.packed import FileSeal
from edged.models.removal import empty_folder

PIECE = 1 << 20  # what is read, hashed and written at once; between two pieces a step can be cancelled
PART, MAP = ".part", ".map"
_UNSYNCED = 8 << 20  # what may wait in memory for a slow disk: as long as that takes, a cancel waits, and the spool's commits


class Watch:
    """Tells how many bytes of a step are done, and asks whether it is to go on."""

    def __init__(self, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> None:
        self._progress, self.cancelled = progress, cancelled
        self._done = 0

    def ask(self) -> None:
        """Raise Cancelled where somebody wants that."""
        if self.cancelled():
            raise Cancelled

    def did(self, size: int) -> None:
        """Count so many more bytes."""
        self._done += size
        self._progress(self._done)


class Blobs:
    """The blobs below a store's root. All but `path`, `has`, `missing` and `arrived` raise OSError where the disk does."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "blobs" / "sha256"
        self.incoming = root / "incoming"

    def path(self, seal: FileSeal) -> Path:
        """Say where a blob lies, or will lie."""
        return self.folder / seal.sha256

    def has(self, seal: FileSeal) -> bool:
        """Say whether it is there with the right size; its content is as it was written, unless the disk failed: see `is_sound`."""
        try:
            status = os.lstat(self.path(seal))
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == seal.size

    def missing(self, files: Iterable[tuple[str, FileSeal]]) -> dict[FileSeal, str]:
        """Give those that are not there, each once, with the name of a file that has it."""
        return {seal: file for file, seal in files if not self.has(seal)}

    def take(self, reader: BinaryIO, seal: FileSeal, watch: Watch) -> bool:
        """Bring a blob in; False, and nothing is left, where `reader` gives other bytes than were sealed. Also raises Cancelled."""
        part = self.incoming / seal.sha256
        with suppress(FileNotFoundError):
            os.unlink(part)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            try:
                is_right = _copy(reader, fd, seal, watch)
                if is_right:
                    os.fsync(fd)
            finally:
                os.close(fd)
            if is_right:
                os.rename(part, self.path(seal))
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
        if is_right:
            sync_folder(self.folder)
        else:
            os.unlink(part)
        return is_right

    def adopt(self, part: Path, seal: FileSeal, watch: Watch) -> bool:
        """Make a blob of a file in incoming/; False, and nothing is left of it, where it has other bytes than were sealed.

        Its pieces were checked as they came, the whole is hashed here, once. Nothing is counted. Also raises Cancelled; then it stays.
        """
        fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.fdopen(fd, "rb", buffering=0, closefd=False) as reader:
                is_right = os.fstat(fd).st_size == seal.size and _copy(reader, None, seal, Watch(lambda _: None, watch.cancelled))
            if is_right:
                os.fchmod(fd, 0o444)
                os.fsync(fd)
        finally:
            os.close(fd)
        if is_right:
            os.rename(part, self.path(seal))
            sync_folder(self.folder)
        else:
            os.unlink(part)
        with suppress(FileNotFoundError):
            os.unlink(part.with_suffix(MAP))  # after its file: without it all of that would be fetched again
        return is_right

    def arrived(self, seal: FileSeal) -> int:
        """Give the bytes that the disk holds already for a blob which is on its way from far away."""
        try:
            status = os.lstat(self.incoming / (seal.sha256 + PART))
        except OSError:
            return 0
        return min(seal.size, status.st_blocks * 512)

    def is_sound(self, seal: FileSeal, watch: Watch) -> bool:
        """Read a blob back from the disk; False, and it is removed, where it has other bytes. Also raises Cancelled, FileNotFoundError."""
        fd = os.open(self.path(seal), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # what the disk has is asked for, not what memory still holds
            is_right = _copy(os.fdopen(fd, "rb", buffering=0, closefd=False), None, seal, watch)
        finally:
            os.close(fd)
        if not is_right:
            os.unlink(self.path(seal))
            sync_folder(self.folder)
        return is_right

    def sweep(self, used: Collection[str]) -> int:
        """Remove each blob whose hash is not in `used`; give the bytes freed."""
        return empty_folder(self.folder, keep=used)

    def clear_incoming(self, coming: Collection[str] | None = ()) -> int:
        """Remove what an end left on its way; give the bytes freed.

        What came from far away of the hashes in `coming` stays; None: of all.
        """
        names = [name for name in os.listdir(self.incoming) if name.endswith((PART, MAP))]
        return empty_folder(self.incoming, keep=[name for name in names if coming is None or name.partition(".")[0] in coming])


def _copy(reader: BinaryIO, fd: int | None, seal: FileSeal, watch: Watch) -> bool:
    """Read `seal.size` bytes, write them to `fd`, and say whether they are those that were sealed."""
    digest, left = hashlib.sha256(), seal.size
    watch.ask()
    while left and (piece := reader.read(min(left, PIECE))):
        digest.update(piece)
        left -= len(piece)
        if fd is not None:
            write_all(fd, piece)
            if (seal.size - left) % _UNSYNCED < len(piece):
                os.fsync(fd)
        watch.did(len(piece))
        watch.ask()
    return not left and digest.hexdigest() == seal.sha256
