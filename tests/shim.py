"""End the process at a chosen durable operation: before it, and for writes also in the middle.

All that changes a disk in the control path goes through functions of `os`, which are replaced here
in a forked child. The child ends as by `kill -9`: nothing of it runs any more, and the kernel closes its files.
As by a power cut, where that is asked for: then also what was written and not synced is lost.
"""

from __future__ import annotations

import os
import shutil
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLAIN = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "ftruncate")
KILLED, BROKEN = 77, 78


@dataclass(frozen=True)
class Cut:
    """A place to end: before the operation with this number, or, where `half`, in the middle of this write; `lost`: by a power cut."""

    number: int
    operation: str
    half: bool = False
    lost: bool = False


class Unsynced:
    """What was written to files and not synced yet; their names, which are in the folders, last."""

    def __init__(self) -> None:
        self._synced: dict[tuple[int, int], tuple[int, int]] = {}  # by device and inode: a descriptor, the size that is safe

    def written(self, fd: int) -> None:
        """Keep the size that a file has before a write to it."""
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) not in self._synced:
            self._synced[status.st_dev, status.st_ino] = os.dup(fd), status.st_size

    def synced(self, fd: int) -> None:
        """Forget a file: all of it is safe now."""
        status = os.fstat(fd)
        kept, _ = self._synced.pop((status.st_dev, status.st_ino), (-1, 0))
        if kept >= 0:
            os.close(kept)

    def lose(self) -> None:
        """Let it be gone."""
        for fd, size in self._synced.values():
            os.truncate(fd, size)


@contextmanager
def durable(meet: Callable[[str, Callable[[], object]], None], unsynced: Unsynced | None = None) -> Iterator[None]:
    """Call `meet` with each durable operation before it is done; its second argument does half of a write."""
    real = {name: getattr(os, name) for name in (*PLAIN, "write", "open")}

    def plain(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            meet(name, lambda: None)
            result = real[name](*args, **options)
            if unsynced and name == "fsync":
                unsynced.synced(*args)
            return result

        return call

    def write(fd: int, data: Any) -> int:
        view = memoryview(data)
        if unsynced:
            unsynced.written(fd)
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
