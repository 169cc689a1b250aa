"""What comes over the control socket: lines of bytes, and open files beside them.

Open files take up places in this process, so they are bounded: so many over all clients
together, and each is closed as soon as nobody wants it.
"""

from __future__ import annotations

import array
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edged.errors import PeerError

MAX_REQUEST = 64 * 1024
MAX_FILES = 224  # of all clients at once; a release has 194 at most


class _Line(msgspec.Struct):
    op: str
    args: dict[str, Any] = {}


@dataclass
class Request:
    """One request. `files` are descriptors of open files; those that are still here after the answer are closed."""

    op: str
    args: dict[str, Any] = field(default_factory=dict)
    files: list[int] = field(default_factory=list)

    def take_files(self) -> list[int]:
        """Give the descriptors to the caller, who closes them."""
        taken, self.files = self.files, []
        return taken

    def arg(self, name: str, type_: type[Any], default: Any = None) -> Any:
        """Give an argument as `type_`. Raises PeerError(`malformed-request`) where it is another, or there is neither it nor a default."""
        if name not in self.args and default is not None:
            return default
        try:
            return msgspec.convert(self.args.get(name), type_)
        except msgspec.ValidationError as error:
            raise _malformed(f"`{name}` of {self.op}: {error}") from None


def parse(line: bytes) -> Request:
    """Read one line. Raises PeerError(`malformed-request`)."""
    try:
        read = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from None
    return Request(read.op, read.args)


class Incoming:
    """What one client sent and nobody has worked on yet: bytes, and the open files that came with them."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.files: list[int] = []
        self._too_many = False

    def receive(self, sock: socket.socket, room: int) -> bool:
        """Take what waits, with at most `room` open files; False at the end. What does not fit, the kernel closes.

        Raises OSError of the socket, BlockingIOError where nothing waits.
        """
        space = socket.CMSG_LEN(room * array.array("i").itemsize) if room and not self._too_many else 0
        data, ancillary, flags, _ = sock.recvmsg(MAX_REQUEST + 1, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i")
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
                self.files += found
        if flags & socket.MSG_CTRUNC:
            self._too_many = True
            self.close_files()
        self.bytes += data
        return bool(data)

    @property
    def is_too_long(self) -> bool:
        """Say whether what came can no longer become a request."""
        return len(self.bytes) > MAX_REQUEST and b"\n" not in self.bytes[:MAX_REQUEST]

    @property
    def is_whole(self) -> bool:
        """Say whether a whole request is there."""
        return b"\n" in self.bytes

    def next(self) -> Request:
        """Take the first request out, with all open files: who sends some waits for the answers of the requests before.

        Raises PeerError(`malformed-request`, `too-many-files`); then the files are closed.
        """
        line, _, self.bytes = self.bytes.partition(b"\n")
        files, self.files = self.files, []
        too_many, self._too_many = self._too_many, False
        try:
            if too_many:
                text = f"there is no room for the open files that came along: {MAX_FILES} at once are taken, those of all requests together"
                raise PeerError(
                    "too-many-files", text, "try again; pack a folder with many files with `edged pack DIR --into FILE.edgedpack`"
                )
            request = parse(bytes(line))
        except BaseException:
            close_files(files)
            raise
        request.files = files
        return request

    def close_files(self) -> None:
        """Close the open files."""
        close_files(self.files)
        self.files = []


def close_files(files: list[int]) -> None:
    """Close descriptors that came over the socket."""
    for each in files:
        with suppress(OSError):  # such as of a disk that fails late; it is closed all the same
            os.close(each)


def _malformed(what: str) -> PeerError:
    return PeerError("malformed-request", f"not a request: {what}", 'send one line such as {"op":"status"}')
