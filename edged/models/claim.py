"""The right to write the store, of one process at a time; the kernel takes it back at the process's end."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from edged.errors import BoardError


class Claim:
    """A file lock that is held; let go with `release`, by `with`, or by the end of the process."""

    def __init__(self, path: Path) -> None:
        """Take it or fail at once. Raises BoardError(`store-busy`), which names the process that has it, and OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # For people only, so it need not be durable.
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            holder = os.pread(self._fd, 20, 0).strip().decode("ascii", "replace")
            self.release()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            who = f"process {holder}" if holder.isdecimal() else "another process"
            text = f"{who} writes the store at {path.parent}"
            raise BoardError("store-busy", text, "wait until it is done, or ask the daemon through its control socket") from None

    @property
    def held(self) -> bool:
        """Say whether it was not released yet."""
        return self._fd >= 0

    def release(self) -> None:
        """Let go; once more does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
