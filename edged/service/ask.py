"""Ask the running daemon over its control socket; the client's side.

Light on purpose: `edged status` imports this, and starts on a small board in a blink.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from edged.errors import DaemonUnreachable, EdgedError, error_of

MAX_ANSWER = 16 * 1024 * 1024
_START = "start it: `systemctl start edged`, or `edged run`"


class NobodyListens(DaemonUnreachable):
    """No daemon runs that would use this socket: there is none, or it is left over."""


def ask(path: Path, op: str, timeout_s: float, args: dict[str, Any] | None = None, files: Sequence[int] = ()) -> dict[str, Any]:
    """Send one request and give the answer, within `timeout_s` seconds in all.

    `files` are descriptors of open files, which the daemon gets its own of; they stay open here.
    Raises DaemonUnreachable(`daemon-not-reachable`: NobodyListens, or not for us;
    `daemon-stuck`: connected, but no whole answer in time; `daemon-answer-malformed`) and
    the daemon's own error, in its own family, where it answers with one.
    """
    deadline = monotonic() + timeout_s
    request = msgspec.json.encode({"op": op, "args": args} if args else {"op": op}) + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            _within(sock, deadline)
            sock.connect(str(path))
            _send(sock, request, files)
            line = _read_line(sock, deadline, path)
        except (TimeoutError, BlockingIOError):
            # BlockingIOError: the daemon does not accept, and its backlog is full.
            raise _stuck(path, timeout_s, peer_pid(sock)) from None
        except OSError as error:
            raise _not_reachable(path, error) from None
    return _answer(line, path)


def peer_pid(sock: socket.socket) -> int:
    """Give the process that listens on the other side of a Unix socket; 0 where it is not known."""
    try:
        pid, _uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return 0
    return int(pid)


def _within(sock: socket.socket, deadline: float) -> None:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _send(sock: socket.socket, request: bytes, files: Sequence[int]) -> None:
    sent = socket.send_fds(sock, [request], list(files)) if files else 0
    sock.sendall(request[sent:])


def _read_line(sock: socket.socket, deadline: float, path: Path) -> bytes:
    parts: list[bytes] = []
    size = 0
    while not (parts and parts[-1].endswith(b"\n")):
        _within(sock, deadline)
        part = sock.recv(1 << 16)
        size += len(part)
        if not part:
            raise ConnectionResetError("it closed the connection without an answer")
        if size > MAX_ANSWER:
            raise _malformed(path, "is longer than 16 MiB")
        parts.append(part)
    return b"".join(parts)


def _answer(line: bytes, path: Path) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _malformed(path, "is not JSON") from None
    if not isinstance(answer, dict):
        raise _malformed(path, "is not an object")
    if isinstance(error := answer.get("error"), dict):
        raise _theirs(error)
    return answer


def _theirs(error: dict[str, Any]) -> EdgedError:
    family, code, text, hint = (str(error.get(key, "")) for key in ("family", "code", "text", "hint"))
    return error_of(family, code or "daemon-error", text or "the daemon answered with an error", hint)


def _malformed(path: Path, what: str) -> DaemonUnreachable:
    return DaemonUnreachable("daemon-answer-malformed", f"the answer on {path} {what}", "another program may have this path: see --socket")


def _stuck(path: Path, timeout_s: float, pid: int) -> DaemonUnreachable:
    who = f"the daemon (process {pid})" if pid else "the daemon"
    text = f"{who} is there, but did not answer on {path} within {timeout_s:g} s"
    return DaemonUnreachable("daemon-stuck", text, "see `journalctl -u edged -n 50`; `systemctl restart edged` ends it by force")


def _not_reachable(path: Path, error: OSError) -> DaemonUnreachable:
    text, hint = _explain(path, error)
    nobody = isinstance(error, (FileNotFoundError, NotADirectoryError, ConnectionRefusedError))
    return (NobodyListens if nobody else DaemonUnreachable)("daemon-not-reachable", f"no daemon answers: {text}", hint)


def _explain(path: Path, error: OSError) -> tuple[str, str]:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"there is no socket {path}", f"{_START}; or name its socket with --socket, its configuration with --config"
    if isinstance(error, PermissionError):
        return f"you may not use {path}", _ask_for_group(path)
    if isinstance(error, ConnectionRefusedError):
        return f"{path} is left over from one that ended", f"{_START}; `journalctl -u edged -n 50` says why it ended"
    if isinstance(error, ConnectionError):
        return f"the one at {path} hung up", "it may be stopping: try again, then see `journalctl -u edged -n 50`"
    return f"{path}: {error.strerror or error}", "name its socket with --socket"


def _ask_for_group(path: Path) -> str:
    """Name the group that may use the socket; where the folder hides it, the folder's."""
    import grp

    for place in (path, path.parent):
        try:
            group = grp.getgrgid(os.stat(place).st_gid).gr_name
        except (OSError, KeyError):
            continue
        return f"it is for group {group}: `sudo usermod -aG {group} $USER`, then log in again; or use sudo"
    return "use sudo"
