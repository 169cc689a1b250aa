"""End the process at a chosen durable operation: before it, and for writes also in the middle.

All that changes a disk in the control path goes through functions of `os`, which are replaced here
in a forked child. The child ends as by `kill -9`: nothing of it runs any more, and the kernel closes its files.
As by a power cut, where that is asked for: then also what was written and not synced is lost.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLAIN = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "ftruncate", "posix_fallocate")
KILLED, BROKEN = 77, 78


@dataclass(frozen=True)
class Cut:
    """A place to end: before the operation with this number, or, where `half`, in the middle of this write; `lost`: by a power cut."""

    number: int
    operation: str
    half: bool = False
    lost: bool = False


class Unsynced:
    """What was written to files and not synced yet, over older bytes or behind them; their names, which are in the folders, last."""

    def __init__(self) -> None:
        self._synced: dict[tuple[int, int], tuple[int, int]] = {}  # by device and inode: a descriptor, the size that is safe
        self._older: dict[tuple[int, int], list[tuple[int, bytes]]] = {}  # what lay where it was written

    def written(self, fd: int, length: int = 0) -> None:
        """Keep what a file has before `length` bytes are written where it stands."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return
        key = status.st_dev, status.st_ino
        if key not in self._synced:
            self._synced[key] = os.dup(fd), status.st_size
        at = os.lseek(fd, 0, os.SEEK_CUR)
        if at < status.st_size and not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND:
            with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
                self._older.setdefault(key, []).append((at, os.pread(file.fileno(), length, at)))

    def synced(self, fd: int) -> None:
        """Forget a file: all of it is safe now."""
        status = os.fstat(fd)
        key = status.st_dev, status.st_ino
        kept, _ = self._synced.pop(key, (-1, 0))
        self._older.pop(key, None)
        if kept >= 0:
            os.close(kept)

    def lose(self) -> None:
        """Let it be gone."""
        for key, (fd, size) in self._synced.items():
            for at, older in reversed(self._older.get(key, [])):
                os.pwrite(fd, older, at)
            os.truncate(fd, size)


@contextmanager
def durable(meet: Callable[[str, Callable[[], object]], None], unsynced: Unsynced | None = None) -> Iterator[None]:
    """Call `meet` with each durable operation before it is done; its second argument does half of a write."""
    real = {name: getattr(os, name) for name in (*PLAIN, "write", "open")}

    def plain(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if unsynced and name == "posix_fallocate":
                unsynced.written(args[0])
            meet(name, lambda: None)
            result = real[name](*args, **options)
            if unsynced and name == "fsync":
                unsynced.synced(*args)
            return result

        return call

    def write(fd: int, data: Any) -> int:
        view = memoryview(data)
        if unsynced:
            unsynced.written(fd, len(view))
        meet("write", lambda: real["write"](fd, view[: len(view) // 2]))
        return real["write"](fd, view)

    def opened(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.exists(path)):
            meet("create", lambda: None)
        return real["open"](path, flags, *args, **options)

    try:
        for name in PLAIN:
            setattr(os, name, plain(name))
        os.write, os.open = write, opened  # type: ignore[assignment]
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def cuts_of(do: Callable[[], object]) -> list[Cut]:
    """Do it, and name each place where it could have ended."""
    cuts: list[Cut] = []
    count = [0]

    def meet(operation: str, _half: Callable[[], object]) -> None:
        count[0] += 1
        cuts.append(Cut(count[0], operation))
        if operation == "write":
            cuts.append(Cut(count[0], operation, half=True))

    with durable(meet):
        do()
    return cuts


def die_at(cut: Cut, do: Callable[[], object]) -> None:
    """Do it in a forked child that ends at the cut. Fails where it never comes there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that numpy may have; the child calls nothing of it
        child = os.fork()
    if not child:
        _die(cut, do)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == KILLED, f"{cut} was not reached"


def _die(cut: Cut, do: Callable[[], object]) -> None:
    count, unsynced = [0], Unsynced() if cut.lost else None

    def meet(_operation: str, half: Callable[[], object]) -> None:
        count[0] += 1
        if count[0] == cut.number:
            if cut.half:
                half()
            if unsynced:
                unsynced.lose()
            os._exit(KILLED)

    try:
        with durable(meet, unsynced):
            do()
    except BaseException:
        traceback.print_exc()
    os._exit(BROKEN)


def copy(template: Path, folder: Path) -> Path:
    """Give a fresh copy of a folder."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(template, folder)
    return folder


def in_words(cuts: list[Cut]) -> str:
    """Count cuts by operation."""
    counts = Counter("half a write" if cut.half else cut.operation for cut in cuts)
    return f"{len(cuts)} cut points: " + ", ".join(f"{count} {name}" for name, count in counts.most_common())
