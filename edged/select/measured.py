"""What variants really took on this board, kept over restarts: it replaces what was predicted.

An entry belongs to the bytes of a variant's file, the engine build that ran it and the board, so it
outlives a release that keeps the file, and is not believed after an update of the runtime. One JSON
file in the state folder:

    {"v":1,"entries":[{"sha256":HEX,"build":…,"board":…,"p50_ms":…,"p95_ms":…,"mib":…,"windows":…,"at":NS}]}
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from edged.atomic import write_atomic
from edged.models.packed import Sha256

FILE = "measured.json"
ENOUGH = 20  # windows; a time over fewer says little
ENOUGH_FOR_PEAKS = 100  # the 95th percentile of fewer is that of one disturbance
_MOST = 256  # entries; the ones noted longest ago go first
_MOST_BYTES = 1 << 20
_NAME = Annotated[str, Meta(max_length=200)]
_MS = Annotated[float, Meta(ge=0, le=1e9)]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Of one window: processor time in ms, from preprocessing to the task's scores, over so many; memory in MiB, where it is known."""

    p50_ms: _MS
    p95_ms: _MS
    windows: Annotated[int, Meta(ge=0)]
    mib: Annotated[float, Meta(ge=0, le=1e9)] | None = None


class Lookup(Protocol):
    """Where measurements are found."""

    def find(self, sha256: str, build: str, board: str) -> Measured | None:
        """Give what the file with this SHA-256 took with an engine build on a board; None where nobody measured it."""


class _Entry(Measured, frozen=True, kw_only=True):
    sha256: Sha256
    build: _NAME
    board: _NAME
    at: int


class _File(msgspec.Struct, frozen=True, kw_only=True):
    v: Annotated[int, Meta(ge=1, le=1)] = 1
    entries: list[_Entry]


_Key = tuple[str, str, str]


class Measurements:
    """All of one board. For any thread."""

    def __init__(self, state_dir: Path) -> None:
        """Read what is kept; a file that is damaged is as good as none: everything in it can be measured again."""
        self._path = state_dir / FILE
        self._lock = threading.Lock()
        self._entries = {_key(entry): entry for entry in _read(self._path)}
        self._saved = True

    def find(self, sha256: str, build: str, board: str) -> Measured | None:
        """Give what was noted, see `Lookup`."""
        with self._lock:
            return self._entries.get((sha256, build, board))

    def note(self, sha256: str, build: str, board: str, measured: Measured, at: int) -> None:
        """Keep a measurement in place of the one before; memory that was known stays known. `at` is wall time in ns.

        One that could not be read again, such as NaN, is not kept.
        """
        with self._lock:
            old = self._entries.get((sha256, build, board))
            mib = measured.mib if measured.mib is not None or old is None else old.mib
            entry = _Entry(
                sha256=sha256,
                build=build,
                board=board,
                at=at,
                p50_ms=measured.p50_ms,
                p95_ms=measured.p95_ms,
                windows=measured.windows,
                mib=mib,
            )
            if not _is_readable(entry):
                return
            self._entries.pop(_key(entry), None)
            self._entries[_key(entry)] = entry  # now the newest
            while len(self._entries) > _MOST:
                del self._entries[next(iter(self._entries))]
            self._saved = False

    def forget_peaks(self, before: int) -> None:
        """Take the median for the 95th percentile of what was noted before this wall time, in ns.

        The peaks of one bad hour could keep a variant from ever running again, and so from ever being measured again.
        """
        with self._lock:
            for key, entry in self._entries.items():
                if entry.at < before and entry.p95_ms > entry.p50_ms:
                    self._entries[key] = msgspec.structs.replace(entry, p95_ms=entry.p50_ms)
                    self._saved = False

    def save(self) -> None:
        """Write what is new. Raises OSError; then the next call tries again."""
        with self._lock:
            if self._saved:
                return
            data = msgspec.json.encode(_File(entries=list(self._entries.values())))
            self._saved = True
        try:
            write_atomic(self._path, data)
        except OSError:
            self._saved = False
            raise


def _key(entry: _Entry) -> _Key:
    return entry.sha256, entry.build, entry.board


def _is_readable(entry: _Entry) -> bool:
    try:
        msgspec.convert(msgspec.to_builtins(entry), _Entry)
    except msgspec.ValidationError:
        return False
    return True


def _read(path: Path) -> list[_Entry]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # a pipe would wait for ever
            data = file.read(_MOST_BYTES + 1) or b""
        return msgspec.json.decode(data, type=_File).entries[-_MOST:] if len(data) <= _MOST_BYTES else []
    except (OSError, msgspec.DecodeError, RecursionError):
        return []
