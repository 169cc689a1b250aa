"""How many readings are in unfinished windows, kept where a crash of the daemon does not reach: in memory that outlives it.

A small file beside the control socket, one count a pipeline, written by the tick without a
system call. Only where that folder is in memory (tmpfs): a disk would be worn by it. So a
kill is counted to within one tick; a power cut takes it along.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from struct import Struct

_COUNT = Struct("<Q")
_NAME = 64  # bytes; longer names do not exist
_MOUNTS = Path("/proc/self/mountinfo")


class BlackBox:
    """The counts of this run, in the order of `names`; `before` holds those of a run that left them there."""

    def __init__(self, path: Path, names: list[str]) -> None:
        """Take the file at `path`; without one that fits there is nothing in `before`, and where none can be made nothing is kept."""
        self.before: dict[str, int] = {}
        self._path = path
        self._map: mmap.mmap | None = None
        if not names or not in_memory(path.parent):
            return
        try:
            self.before = _read(path)
            fresh = path.with_name(f"{path.name}.new")
            fresh.unlink(missing_ok=True)
            mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # through no link that somebody laid there
            with open(os.open(fresh, mode, 0o600), "wb") as file:
                file.write(b"".join(name.encode()[:_NAME].ljust(_NAME, b"\0") + _COUNT.pack(0) for name in names))
            fresh.replace(path)
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
        except (OSError, ValueError):
            self._map = None

    def note(self, counts: list[int]) -> None:
        """Keep the counts, in the order of the names."""
        if self._map is not None:
            for i, count in enumerate(counts):
                _COUNT.pack_into(self._map, i * (_NAME + _COUNT.size) + _NAME, count)

    def close(self) -> None:
        """Forget everything: the run ended as it should."""
        if self._map is not None:
            self._map.close()
            self._path.unlink(missing_ok=True)


def in_memory(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Say whether a folder is on a file system in memory, by the kernel's table of mounts."""
    try:
        place = os.path.realpath(folder)
        lines = [line.split(" ") for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:
        return False
    kinds = {fields[4]: fields[fields.index("-") + 1] for fields in lines if "-" in fields[:-1]}
    holders = [mount for mount in kinds if place == mount or place.startswith(mount.rstrip("/") + "/")]
    return bool(holders) and kinds[max(holders, key=len)] == "tmpfs"


def _read(path: Path) -> dict[str, int]:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            data = file.read(1 << 20)
    except OSError:
        return {}
    size = _NAME + _COUNT.size
    records = [data[start : start + size] for start in range(0, len(data) - size + 1, size)]
    return {record[:_NAME].rstrip(b"\0").decode("utf-8", "replace"): _COUNT.unpack(record[_NAME:])[0] for record in records}
