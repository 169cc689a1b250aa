"""Lines of files, each one message: read whole and then finished, or followed for ever.

A `*` in the path stands for any part of one name; several files are several topics. The topic
of a line is its file's name, below the folders that come before the first `*`. Followed
files are read from their start: after a restart of the daemon readings come again rather
than being lost; results of readings with a time of their own keep their id then.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path

from edged.clock import Clock
from edged.stream.sources.follow import BLOCK, FollowedFile, Mark, mark, open_regular
from edged.stream.sources.lines import LineSplitter
from edged.stream.sources.reader import LineReader

POLL_S = 0.25

Wait = Callable[[float], bool]  # waits that many seconds, less when it shall stop; True: stop


class FileSource(LineReader):
    """Reads the files of `pattern`; `wait` (default: until stopped) passes the time between two polls."""

    def __init__(self, pattern: str, follow: bool, clock: Clock, wait: Wait | None = None) -> None:
        super().__init__(os.path.basename(pattern) or pattern, clock)
        self._pattern = pattern
        self._follow = follow
        self._wait = wait or self._stopping.wait
        self._base = _base_of(pattern)

    def _read(self) -> None:
        if self._follow:
            self._read_on()
        else:
            self._read_whole()

    def _read_whole(self) -> None:
        paths = matching(self._pattern)
        faults = [fault for path in paths if (fault := self._read_one(path))]
        self.error = _summary(faults if paths else [f"no file matches {self._pattern}"])

    def _read_one(self, path: Path) -> str:
        """Read a file to its end; say what went wrong, if anything did."""
        try:
            fd = open_regular(path)
        except OSError as error:
            return f"{path}: {error.strerror}"
        splitter = LineSplitter()
        topic = self._topic(path)
        fault = ""
        try:
            while not self._stopping.is_set() and (data := os.read(fd, BLOCK)):
                self._emit(topic, splitter.feed(data))
        except OSError as error:
            fault = f"{path} cannot be read: {error.strerror}"
        finally:
            os.close(fd)
        self._emit(topic, splitter.rest())
        return fault

    def _read_on(self) -> None:
        followed = _FollowedFiles(self._pattern)
        stop = False
        while not stop and not self._stopping.is_set():
            followed.look()
            busy = True
            while busy and not self._stopping.is_set():
                busy = self._round(followed)
            stop = self._wait(POLL_S)
        followed.close()

    def _round(self, followed: _FollowedFiles) -> bool:
        """Read one block of each file, so that a busy one holds up no other; True while there is more."""
        busy = False
        for file in followed.files.values():
            lines = file.read()
            if lines is not None:
                busy = True
                self._emit(self._topic(file.path), lines)
        self.error = _summary(followed.faults())
        return busy

    def _topic(self, path: Path) -> bytes:
        return os.fsencode(os.path.relpath(path, self._base))


class _FollowedFiles:
    """The followed files of a pattern, by path; finds new ones, and knows rotated ones again."""

    def __init__(self, pattern: str) -> None:
        self.files: dict[Path, FollowedFile] = {}
        self._pattern = pattern
        self._done: set[Mark] = set()

    def look(self) -> None:
        """Take up files that have come, drop those that have gone."""
        paths = matching(self._pattern)
        marks = {path: mark(status) for path in paths if (status := _stat(path))}
        self._done |= {file.left for file in self.files.values() if file.left}
        self._done &= set(marks.values())
        for path in [path for path, file in self.files.items() if path not in paths and file.identity() is None]:
            del self.files[path]
        open_now = {file.identity() for file in self.files.values()}
        for path in paths:
            seen = marks.get(path)
            read_already = seen is not None and (seen in self._done or seen[:2] in open_now)
            if path not in self.files and not read_already:
                self.files[path] = FollowedFile(path)

    def faults(self) -> list[str]:
        """Say what cannot be read now."""
        return [file.fault for file in self.files.values() if file.fault] if self.files else [f"no file matches {self._pattern} yet"]

    def close(self) -> None:
        """Let all files go."""
        for file in self.files.values():
            file.close()


def matching(pattern: str) -> list[Path]:
    """Give the paths that `pattern` stands for, sorted; without a `*` its own path, whether or not it is there."""
    if "*" not in pattern:
        return [Path(pattern)]
    return [Path(path) for path in sorted(glob.glob(glob.escape(pattern).replace("[*]", "*")))]


def _summary(faults: list[str]) -> str:
    return faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "") if faults else ""


def _base_of(pattern: str) -> str:
    return os.path.dirname(pattern.partition("*")[0] if "*" in pattern else pattern) or "."


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
