"""A serial port: opened for us alone, bytes as they are, each error in words.

The only module that imports pyserial. Its errors and the system's end here, as PortError.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
import shlex
import stat
import struct
import termios
import threading

import serial

from firmware_bridge.port_list import FoundPort, present
from firmware_bridge.port_node import group_that_may, holders

__all__ = ["FoundPort", "Port", "PortError", "present"]

_MOST_BYTES = 1 << 16
_PSEUDO_TERMINALS = range(136, 144)  # major numbers
_TCGETS2 = 0x802C542A
_TERMIOS2 = struct.Struct("=4IB19s2I")
_BAUD_OFF = 0.03  # a UART that is further off misreads
_LOOK = "`ls -l /dev/serial/by-id` shows the ports of boards on USB"


class PortError(Exception):
    """What is wrong with a port.

    code  never changes: port-missing, port-not-allowed, port-busy, port-lost, port-unusable
    text  what is wrong
    hint  what to do next
    """

    def __init__(self, code: str, text: str, hint: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.hint = hint


class Port:
    """An open port. One thread reads, writes and closes; `wake` is for any."""

    def __init__(self, path: str, line: serial.Serial) -> None:
        self.path = path
        self._line = line
        self._fd: int = line.fileno()
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Lock()  # so that `wake` never writes to a descriptor that was closed
        self._closed = False
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    @classmethod
    def open(cls, path: str, baud: int) -> Port:
        """Open the port at `path` for us alone: 8 data bits, no parity, 1 stop bit, no flow control, all bytes unchanged.

        Raises DTR and RTS, as every opening of a port does: an Arduino Uno begins anew by that. What came before is lost.
        Raises PortError: port-missing, port-not-allowed, port-busy, port-unusable.
        """
        try:
            if not stat.S_ISCHR(os.stat(path).st_mode):  # opening a pipe or a disk would do something
                raise OSError(errno.ENOTTY, "not a device of characters")
            if not baud:
                raise ValueError("0 baud hangs up")
            line = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
        except (OSError, ValueError, OverflowError, termios.error) as error:
            raise _why_not_opened(path, baud, error) from error
        try:
            _keep_others_out(line.fileno())
            _take_bytes_as_they_are(line.fileno())
            _must_have_taken(line.fileno(), baud)
            return cls(path, line)
        except (OSError, ValueError, termios.error) as error:
            line.close()
            raise _why_not_opened(path, baud, error) from error

    def read(self, timeout_s: float) -> bytes:
        """Wait for bytes and give all that are there; b"" after `timeout_s`, or when woken. Raises PortError: port-lost."""
        for fd, _ in self._poll.poll(max(0, math.ceil(timeout_s * 1000))):
            if fd == self._woken:
                os.eventfd_read(fd)
                continue
            try:
                data = os.read(fd, _MOST_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._lost() from error
            if not data:  # said to be readable, and nothing there: the device is gone
                raise self._lost()
            return data
        return b""

    def write(self, data: bytes) -> int:
        """Write what the port takes now, and give how many bytes that was, maybe 0; never waits. Raises PortError: port-lost."""
        try:
            return os.write(self._fd, data) if data else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost() from error

    def wake(self) -> None:
        """Let a `read` that waits return at once, or else the next one. From any thread; after `close` it is nothing."""
        with self._closing:
            if not self._closed:
                os.eventfd_write(self._woken, 1)

    def close(self) -> None:
        """Give the port back; a second time is nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            os.close(self._woken)
        self._line.close()

    def _lost(self) -> PortError:
        return PortError("port-lost", f"{self.path} was unplugged", "plug it in again; if it was not unplugged, check its cable and power")


def _keep_others_out(fd: int) -> None:
    """Let no other user's program open the port; pyserial's lock keeps out only those who ask for one.

    The kernel forgets this with the last close, but for a pseudo-terminal whose other end stays open: nobody could open that again.
    """
    if os.major(os.fstat(fd).st_rdev) not in _PSEUDO_TERMINALS:
        fcntl.ioctl(fd, termios.TIOCEXCL)


def _take_bytes_as_they_are(fd: int) -> None:
    """Set what pyserial leaves as it was: a break, as a wrong baud rate makes many, would else empty the buffers."""
    mode = termios.tcgetattr(fd)
    mode[0] &= ~termios.BRKINT
    termios.tcsetattr(fd, termios.TCSANOW, mode)


def _must_have_taken(fd: int, baud: int) -> None:
    """Raise ValueError where the driver says that it made another baud rate of this one, as it does without an error."""
    told = bytearray(_TERMIOS2.size)
    try:
        fcntl.ioctl(fd, _TCGETS2, told)
    except OSError:  # no such question on this kernel
        return
    made = _TERMIOS2.unpack(told)[-1]
    if made and abs(made - baud) > _BAUD_OFF * baud:
        raise ValueError(f"its hardware makes {made} of it")


def _why_not_opened(path: str, baud: int, error: BaseException) -> PortError:
    """Say in words what the system or pyserial raised when a port was opened."""
    number = _number(error)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV):
        return PortError("port-missing", f"{path} is not there", f"plug it in; {_LOOK}")
    if number == errno.EACCES:
        return _not_allowed(path)
    if number == errno.EPERM:
        hint = "a container must be given the device, a service must allow it (DeviceAllow=)"
        return PortError("port-not-allowed", f"{path} may not be opened from here, whoever asks", hint)
    if number in (errno.EBUSY, errno.EAGAIN):
        hint = f"end that program first; `sudo fuser -v {shlex.quote(path)}` shows who it is"
        return PortError("port-busy", f"{path} is held by {holders(path)}", hint)
    if number == errno.ENOTTY:
        return PortError("port-unusable", f"{path} is no serial port", _LOOK)
    if number == errno.EIO:
        return PortError("port-unusable", f"{path} does not answer: there is no hardware behind it", _LOOK)
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return PortError("port-unusable", f"{path} cannot be used at {baud} baud: {words}", "take another baud rate, here and in the firmware")


def _number(error: BaseException) -> int | None:
    """Give the system's number of an error; pyserial hides that of termios."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    for each in (error, error.__context__):
        if isinstance(each, termios.error) and each.args and isinstance(each.args[0], int):
            return each.args[0]
    return None


def _not_allowed(path: str) -> PortError:
    quoted = shlex.quote(path)
    try:
        group = group_that_may(path)
    except OSError:
        return PortError("port-not-allowed", f"the folder of {path} may not be looked into", f"`namei -l {quoted}` shows where it ends")
    if group:
        hint = f"`sudo usermod -aG {group} $USER`, then log in again"
        return PortError("port-not-allowed", f"{path} may only be opened by members of {group}", hint)
    hint = f"`sudo chgrp dialout {quoted} && sudo chmod 660 {quoted}`; where a login waits on that port, turn it off first"
    return PortError("port-not-allowed", f"{path} may not be opened by members of any group", hint)
