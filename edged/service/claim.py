"""Claim the path of the control socket: one daemon a path.

A lock file beside the socket is held while the daemon lives; the kernel lets it go with the
process, however that ends. Who holds it may replace a socket that nobody listens on. The
lock file stays: removing it would let two daemons lock two files of one name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from edged.errors import OperatorError
from edged.service.ask import peer_pid

# Linux: sun_path has 108 bytes with the zero at its end.
_MAX_PATH = 107
_CHOOSE = "choose another path in [control] socket"


class Claim:
    """A listening Unix socket at `path`, mode 0660, and the lock that makes it ours."""

    def __init__(self, path: Path) -> None:
        """Take the path; its folder is created (0750) where it is missing.

        Raises OperatorError(`already-running`, `control-path-taken`, `control-path-refused`,
        `control-path-too-long`).
        """
        if len(os.fsencode(path)) > _MAX_PATH:
            raise OperatorError("control-path-too-long", f"{path} is longer than the {_MAX_PATH} bytes of a socket's path", _CHOOSE)
        self.path = path
        try:
            _make_folder(path.parent)
            self._lock = _lock(path)
            self.listener = self._open()
        except OSError as error:
            raise _refused(path, error) from None

    def _open(self) -> socket.socket:
        try:
            _remove_stale(self.path)
            return _listen(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def release(self) -> None:
        """Remove the socket, then let the lock go."""
        self.path.unlink(missing_ok=True)
        self.listener.close()
        os.close(self._lock)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o750)
    # In /tmp anybody may have made it first, to answer in our name.
    elif folder.parent.stat().st_mode & stat.S_ISVTX and folder.lstat().st_uid != os.geteuid():
        raise OperatorError("control-path-taken", f"{folder} belongs to another user", _CHOOSE)


def _lock(path: Path) -> int:
    """Lock `<path>.lock` and write our pid into it."""
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise _already_running(path, int(pid) if pid.isdigit() else 0) from None
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; anything else there is left alone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OperatorError("control-path-taken", f"{path} is there and is not a socket", f"remove it, or {_CHOOSE}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN: a full backlog, so somebody listens, however slowly.
        if probe.connect_ex(str(path)) in (0, errno.EAGAIN):
            raise _already_running(path, peer_pid(probe))
    path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        # Nobody can connect before listen(), so there is no moment with another mode.
        path.chmod(0o660)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener


def _already_running(path: Path, pid: int) -> OperatorError:
    who = f"process {pid}" if pid else "another process"
    text = f"a daemon already answers on {path}: {who}"
    return OperatorError("already-running", text, "stop it first, or give this one its own [control] socket and [device] state_dir")


def _refused(path: Path, error: OSError) -> OperatorError:
    return OperatorError("control-path-refused", f"cannot make the control socket {path}: {error.strerror or error}", _CHOOSE)
