"""A serial port: opened for us alone, bytes as they are, each error in words.

Only this module imports pyserial; its errors and those of the system end here, as PortError.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import select
import stat
import termios
import threading
from dataclasses import dataclass
from pathlib import Path

import serial

_MOST_BYTES = 1 << 16


class PortError(Exception):
    """What is wrong with a port.

    code   never changes: port-missing, port-not-allowed, port-busy, port-lost, port-unusable
    text   what is wrong, in words
    hint   what to do next
    """

    def __init__(self, code: str, text: str, hint: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.hint = hint


class Port:
    """An open port. One thread reads and writes; `wake` may be called by any."""

    def __init__(self, path: str, line: serial.Serial) -> None:
        self.path = path
        self._line = line
        self._fd: int = line.fileno()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()  # so that `wake` never writes to a descriptor that was closed
        self._closed = False
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    @classmethod
    def open(cls, path: str, baud: int) -> Port:
        """Open a port: 8 data bits, no parity, 1 stop bit, no flow control, bytes unchanged, nobody else's.

        Opening raises DTR and RTS, as pyserial and the kernel do: an Arduino Uno resets by it. Raises PortError.
        """
        _must_be_there(path)
        try:
            line = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError, OverflowError, termios.error) as error:
            raise _why_not(path, baud, error) from error
        try:
            _for_us_alone(line.fileno())
            return cls(path, line)
        except (OSError, termios.error) as error:
            line.close()
            raise _why_not(path, baud, error) from error

    def read(self, timeout_s: float) -> bytes:
        """Give what has come, waiting for at least one byte; b"" after `timeout_s` or `wake`. Raises PortError."""
        for fd, _ in self._poll.poll(max(0, round(timeout_s * 1000))):
            if fd == self._wake:
                os.eventfd_read(self._wake)
                continue
            try:
                data = os.read(self._fd, _MOST_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._lost() from error
            if not data:
                raise self._lost()
            return data
        return b""

    def write(self, data: bytes) -> int:
        """Write as many bytes as the port takes now, never waiting; give how many, maybe 0. Raises PortError."""
        try:
            return os.write(self._fd, data) if data else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost() from error

    def wake(self) -> None:
        """Let a `read` that waits return at once; from any thread, also after `close`."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give the port back; a second time is nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._wake)
        try:
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        except OSError:  # it was unplugged
            pass
        self._line.close()

    def _lost(self) -> PortError:
        return PortError("port-lost", f"{self.path} was unplugged", "plug it in again; check the cable and its power")


def _must_be_there(path: str) -> None:
    """Raise PortError where a path is not that of a device, before opening it does something."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise _why_not(path, 0, error) from error
    if not stat.S_ISCHR(mode):
        raise PortError("port-unusable", f"{path} is not a serial port", "`ls -l /dev/serial/by-id` shows those of this board")


def _for_us_alone(fd: int) -> None:
    """Let nobody else open it (pyserial's own lock holds only those who ask for it); a break is a zero byte, no signal."""
    fcntl.ioctl(fd, termios.TIOCEXCL)
    mode = termios.tcgetattr(fd)
    mode[0] &= ~termios.BRKINT
    termios.tcsetattr(fd, termios.TCSANOW, mode)


def _why_not(path: str, baud: int, error: BaseException) -> PortError:
    """Give the PortError of an error while opening."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTDIR):
        return PortError("port-missing", f"{path} is not there", "plug it in; `ls -l /dev/serial/by-id` shows what is")
    if number in (errno.EACCES, errno.EPERM):
        group = _group(path)
        return PortError(
            "port-not-allowed",
            f"{path} may only be opened by its group, {group}",
            f"`sudo usermod -aG {group} $USER`, then log in again",
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return PortError("port-busy", f"{path} is held by {_holders(path)}", f"stop it; `sudo fuser -v {path}` shows who holds it")
    return PortError("port-unusable", f"{path} cannot be used at {baud} baud: {error}", "check the path and the baud rate")


def _group(path: str) -> str:
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def _holders(path: str) -> str:
    return "another program"


@dataclass(frozen=True, slots=True)
class FoundPort:
    """A port of this board: its path, a link that stays the same ("" without one), and what is behind it."""

    path: str
    stable: str
    description: str


def present(root: Path = Path("/")) -> list[FoundPort]:
    """Give the serial ports below `root`, which stands for `/`."""
    found = []
    for pattern in ("ttyACM*", "ttyUSB*", "ttyAMA*", "ttyTHS*"):
        found += [FoundPort(f"/dev/{path.name}", "", "") for path in sorted((root / "dev").glob(pattern))]
    return found
