"""The journal of the store: what was decided about releases, on disk before it is done.

One line an entry, written and fsynced before its side effect:

    9f3c01ab {"type":"moved","model":"har",…}⏎        CRC-32 of the JSON in hex, the JSON

A line that a kill or a power cut left half is the last one; the next writer removes it. A line
that went bad later is passed over and counted, and the file is kept aside as `journal.damaged`.
After MAX_BYTES the file is written anew with one entry that says all of it.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edged.atomic import sync_folder, write_all, write_atomic
from edged.errors import BoardError
from edged.models.entries import Entry

MAX_BYTES = 256 << 10
_MOST_BYTES = 64 << 20  # what is read of a file that is none of ours

_decode = msgspec.json.Decoder(Entry).decode
_encode = msgspec.json.Encoder().encode


@dataclass
class Read:
    """What a journal says: its entries, how many lines were bad, and how many bytes are whole lines."""

    entries: list[Entry] = field(default_factory=list)
    bad: int = 0
    whole: int = 0


def read(path: Path) -> Read:
    """Read a journal, also while another process writes it; nothing where there is none. Raises BoardError(`store-unreadable`)."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return Read()
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror or error}"
        raise BoardError("store-unreadable", text, "run it as a user who may read it") from None
    return parse(data)


def parse(data: bytes) -> Read:
    """Read the bytes of a journal; whatever they are, raises nothing."""
    found = Read()
    *lines, rest = data.split(b"\n")
    for line in lines:
        entry = _entry(line)
        if entry is None:
            found.bad += 1
        else:
            found.entries.append(entry)
    found.whole = len(data) - len(rest)
    return found


class Journal:
    """A journal that one process writes. The store's claim is held while it is open."""

    def __init__(self, path: Path) -> None:
        """Open the journal at `path`, made where there is none; its entries so far are in `found`. Raises BoardError as `append`."""
        self._path = path
        self.found = read(path)
        self._fd = -1
        self._moved = False
        self._least = 0  # what one entry took that said it all
        try:
            if self.found.bad:
                _keep_aside(path)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._size = self.found.whole
            self._cut()
            sync_folder(path.parent)
        except OSError as error:
            self.close()
            raise _unwritable(path, error) from None

    def append(self, entry: Entry) -> None:
        """Put an entry to disk. Raises BoardError(`store-unwritable`, `store-unreadable`); then it is as if it had not been called."""
        line = _line(entry)
        try:
            self._reopen()
            self._cut()  # what an append that failed may have left
            write_all(self._fd, line)
            os.fsync(self._fd)
        except OSError as error:
            with suppress(OSError):
                self._cut()
            raise _unwritable(self._path, error) from None
        self._size += len(line)

    @property
    def is_long(self) -> bool:
        """Say whether it is time to write it anew."""
        return self._size - self._least > MAX_BYTES

    def begin_anew(self, entry: Entry) -> None:
        """Replace all entries by one that says the same. Raises BoardError as `append`; then they stand, or it does."""
        self._moved = True  # also where it fails: after the rename, say
        try:
            write_atomic(self._path, _line(entry))
            self._reopen()
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _reopen(self) -> None:
        """Go over to the file that has the journal's name, where that may be another one now."""
        if self._moved:
            size, fd = read(self._path).whole, os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            os.close(self._fd)
            self._fd, self._size, self._least, self._moved = fd, size, size, False
            self._cut()

    def _cut(self) -> None:
        """Remove what is behind the last whole line."""
        if os.fstat(self._fd).st_size != self._size:
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
        os.lseek(self._fd, self._size, os.SEEK_SET)


def _line(entry: Entry) -> bytes:
    body = _encode(entry)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _entry(line: bytes) -> Entry | None:
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        return _decode(body)
    except (ValueError, RecursionError):
        return None


def _keep_aside(path: Path) -> None:
    write_atomic(path.with_name(f"{path.name}.damaged"), path.read_bytes())


def _unwritable(path: Path, error: OSError) -> BoardError:
    text = f"{path} cannot be written: {error.strerror or error}"
    return BoardError("store-unwritable", text, "check free space and the owner of the folder")
