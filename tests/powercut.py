"""Lost writes: record what SQLite writes and syncs, and build the files that a power cut would leave of it.

`Recorder` puts a layer under SQLite: a VFS that forwards all to the one of the system and notes
writes, truncations, syncs, creations and deletions. It also notes `os.replace` and `os.fsync`,
which the code above SQLite calls. `Disk` follows such a record. Cut at any point of it, a file
holds what was synced, and of what was not synced any subset: whole writes, or sectors of 512
bytes of them. Names in the folder change in order, so some first ones of those not synced are there.

It needs a Python whose `sqlite3` uses a shared libsqlite3; `sqlite_library` says when it does not.
"""

from __future__ import annotations

import ctypes
import os
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from unittest import mock

SECTOR = 512
_IOERR_FSYNC = 10 | 4 << 8
_NAME = b"powercut"

# Of SQLITE_OPEN_…: journals and logs, whose folder the system's VFS syncs with their first sync.
_SYNCS_FOLDER = 0x00000800 | 0x00004000 | 0x00080000

_INT, _PTR, _I64 = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
_OPEN = ctypes.CFUNCTYPE(_INT, _PTR, _PTR, _PTR, _INT, _PTR)  # the name as an address: SQLite keeps it, and looks behind its end
_DELETE = ctypes.CFUNCTYPE(_INT, _PTR, ctypes.c_char_p, _INT)
_CLOSE = ctypes.CFUNCTYPE(_INT, _PTR)
_WRITE = ctypes.CFUNCTYPE(_INT, _PTR, _PTR, _INT, _I64)
_TRUNCATE = ctypes.CFUNCTYPE(_INT, _PTR, _I64)
_SYNC = ctypes.CFUNCTYPE(_INT, _PTR, _INT)


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, version 3."""

    _fields_ = [
        ("iVersion", _INT),
        ("szOsFile", _INT),
        ("mxPathname", _INT),
        ("pNext", _PTR),
        ("zName", ctypes.c_char_p),
        ("pAppData", _PTR),
        ("xOpen", _PTR),
        ("xDelete", _PTR),
        ("rest", _PTR * 14),
    ]


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, version 3."""

    _fields_ = [
        ("iVersion", _INT),
        ("xClose", _PTR),
        ("xRead", _PTR),
        ("xWrite", _PTR),
        ("xTruncate", _PTR),
        ("xSync", _PTR),
        ("rest", _PTR * 13),
    ]


class _File(ctypes.Structure):
    """`sqlite3_file`: what the VFS keeps of an open file begins with its methods."""

    _fields_ = [("methods", ctypes.POINTER(_Methods))]


@dataclass
class _Open:
    """An open file: `system` are the methods it came with."""

    path: Path
    system: _Methods
    syncs_folder: bool


@dataclass(frozen=True)
class Create:
    """A file came to be."""

    path: Path


@dataclass(frozen=True)
class Write:
    """Bytes were written, without a promise yet."""

    path: Path
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    """A file was cut off, or made longer."""

    path: Path
    size: int


@dataclass(frozen=True)
class Sync:
    """What was written to a file before is safe."""

    path: Path


@dataclass(frozen=True)
class Rename:
    """A file got another name; one that had it is gone."""

    path: Path
    new: Path


@dataclass(frozen=True)
class Delete:
    """A file's name was taken away."""

    path: Path


@dataclass(frozen=True)
class SyncFolder:
    """Names that came, changed or went before are safe."""


@dataclass(frozen=True)
class Mark:
    """The program got this far; for whoever records."""

    value: int


Event = Create | Write | Truncate | Sync | Rename | Delete | SyncFolder | Mark


def sqlite_library() -> ctypes.CDLL | None:
    """Give the libsqlite3 that Python's `sqlite3` runs on; None where it has one of its own inside."""
    sqlite3.connect(":memory:").close()
    maps = Path("/proc/self/maps").read_text().split()
    paths = {path for path in maps if "/libsqlite3" in path}
    if len(paths) != 1:
        return None
    library = ctypes.CDLL(paths.pop())
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
    library.sqlite3_vfs_register.argtypes = [_PTR, _INT]
    library.sqlite3_vfs_unregister.argtypes = [_PTR]
    return library


class Recorder:
    """While it is entered, `log` grows with what happens to the database files of this process.

    With `failing_syncs` a sync of a file fails as on a disk that reports an error; what was written stays written.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.log: list[Event] = []
        self.failing_syncs = False
        self._library = library
        self._files: dict[int, _Open] = {}  # by address
        self._names: set[Path] = set()
        self._methods: dict[int, _Methods] = {}  # ours, by the address of those that they stand in for
        self._system = library.sqlite3_vfs_find(None).contents
        self._vfs = _Vfs.from_buffer_copy(self._system)
        self._vfs.zName = _NAME
        # Kept, for C code calls them.
        self._calls = [_OPEN(self._open), _DELETE(self._delete)]
        self._file_calls = [_CLOSE(self._close), _WRITE(self._write), _TRUNCATE(self._truncate), _SYNC(self._sync)]
        self._vfs.xOpen, self._vfs.xDelete = (ctypes.cast(call, _PTR).value for call in self._calls)
        self._patches = [mock.patch("os.replace", self._python_replace), mock.patch("os.fsync", self._python_fsync)]
        self._os_replace, self._os_fsync = os.replace, os.fsync

    def __enter__(self) -> Recorder:
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) == 0
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for patch in self._patches:
            patch.stop()
        assert self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs)) == 0
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._system), 1) == 0
        assert error or not self._files, "a connection outlives the recorder it was opened under"

    def mark(self, value: int) -> None:
        """Note how far the program got."""
        self.log.append(Mark(value))

    # -- called by SQLite; these must not raise ---------------------------------------------

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: int | None) -> int:
        path = Path(os.fsdecode(ctypes.string_at(name))) if name else Path()
        created = not path.exists() or path not in self._names
        code: int = _OPEN(self._system.xOpen)(vfs, name, file, flags, out)
        if code == 0 and name:
            if created:
                self.log.append(Create(path))
                self._names.add(path)
            handle = _File.from_address(file)
            self._files[file] = _Open(path, handle.methods.contents, bool(flags & _SYNCS_FOLDER))
            handle.methods = ctypes.pointer(self._instead_of(handle.methods.contents))
        return code

    def _instead_of(self, system: _Methods) -> _Methods:
        # Not one for all: a log needs no locks, so its methods are not those of the database.
        at = ctypes.addressof(system)
        if at not in self._methods:
            self._methods[at] = ours = _Methods.from_buffer_copy(system)
            ours.xClose, ours.xWrite, ours.xTruncate, ours.xSync = (ctypes.cast(call, _PTR).value for call in self._file_calls)
        return self._methods[at]

    def _close(self, file: int) -> int:
        return int(_CLOSE(self._files.pop(file).system.xClose)(file))

    def _write(self, file: int, data: int, size: int, offset: int) -> int:
        opened = self._files[file]
        self.log.append(Write(opened.path, offset, ctypes.string_at(data, size)))
        return int(_WRITE(opened.system.xWrite)(file, data, size, offset))

    def _truncate(self, file: int, size: int) -> int:
        opened = self._files[file]
        self.log.append(Truncate(opened.path, size))
        return int(_TRUNCATE(opened.system.xTruncate)(file, size))

    def _sync(self, file: int, flags: int) -> int:
        if self.failing_syncs:
            return _IOERR_FSYNC
        opened = self._files[file]
        self.log += [Sync(opened.path), SyncFolder()] if opened.syncs_folder else [Sync(opened.path)]
        opened.syncs_folder = False
        return int(_SYNC(opened.system.xSync)(file, flags))

    def _delete(self, vfs: int, name: bytes, sync_folder: int) -> int:
        self.log += [Delete(Path(os.fsdecode(name))), SyncFolder()] if sync_folder else [Delete(Path(os.fsdecode(name)))]
        return int(_DELETE(self._system.xDelete)(vfs, name, sync_folder))

    # -- called by the code above SQLite ----------------------------------------------------

    def _python_replace(self, old: Path, new: Path) -> None:
        self._os_replace(old, new)
        self.log.append(Rename(old, new))
        self._names.add(new)

    def _python_fsync(self, fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        self._os_fsync(fd)
        self.log.append(SyncFolder() if path.is_dir() else Sync(path))


@dataclass
class _Content:
    """A file's bytes: those that are safe, and what was done since."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)

    def sync(self) -> None:
        self.safe = self.after(lambda _: True)
        self.pending.clear()

    def after(self, survives: Callable[[Write | Truncate], bool], torn: random.Random | None = None) -> bytearray:
        """Give the bytes with those of the pending changes that survive; of torn writes half of the sectors."""
        data = bytearray(self.safe)
        for change in filter(survives, self.pending):
            if isinstance(change, Truncate):
                data[change.size :] = bytes(max(0, change.size - len(data)))
                continue
            for start, piece in _sectors(change):
                if torn is None or torn.random() < 0.5:
                    data.extend(bytes(max(0, start - len(data))))
                    data[start : start + len(piece)] = piece
        return data


def _sectors(write: Write) -> list[tuple[int, bytes]]:
    ends = [*range(write.offset // SECTOR * SECTOR + SECTOR, write.offset + len(write.data), SECTOR), write.offset + len(write.data)]
    starts = [write.offset, *ends[:-1]]
    return [(start, write.data[start - write.offset : end - write.offset]) for start, end in zip(starts, ends, strict=True)]


class Disk:
    """What a disk holds of the files of one folder, as a record goes on."""

    def __init__(self) -> None:
        self._now: dict[Path, _Content] = {}
        self._safe: dict[Path, _Content] = {}
        self._names: list[Create | Rename | Delete] = []  # changes of names since the folder was synced
        self._made: dict[int, _Content] = {}  # by the position in `_names`: the content that a creation made

    def follow(self, event: Event) -> None:
        """Take the next event of a record."""
        if isinstance(event, Write | Truncate):
            self._now[event.path].pending.append(event)
        elif isinstance(event, Sync):
            self._now[event.path].sync()
        elif isinstance(event, SyncFolder):
            self._safe = dict(self._now)
            self._names.clear()
            self._made.clear()
        elif isinstance(event, Create | Rename | Delete):
            content = _Content()
            self._made[len(self._names)] = content
            self._names.append(event)
            _rename(self._now, event, content)

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """Give the files, by name, that a power cut at this point might leave."""
        names = dict(self._safe)
        for at in range(chance.randint(0, len(self._names))):
            _rename(names, self._names[at], self._made[at])
        survival = chance.choice([0.0, 0.5, 0.9, 1.0])
        torn = chance if chance.random() < 0.5 else None
        left = {path.name: content.after(lambda _: chance.random() < survival, torn) for path, content in names.items()}
        return {name: bytes(data) for name, data in left.items()}


def _rename(names: dict[Path, _Content], event: Create | Rename | Delete, created: _Content) -> None:
    if isinstance(event, Create):
        names[event.path] = created
    elif isinstance(event, Rename):
        names[event.new] = names.pop(event.path)
    else:
        names.pop(event.path, None)
