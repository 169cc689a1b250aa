"""A serial port that is a pseudo-terminal, with a firmware or a sketch at its other end; it may be unplugged and plugged in again."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.firmwares import FakeFirmware


class SerialCable:
    """The port is a link at `path` to a pseudo-terminal, as a udev rule makes one; bytes that a board writes go to `firmware`."""

    def __init__(self, path: Path, firmware: FakeFirmware | None = None) -> None:
        self.path = path
        self.firmware = firmware
        self.heard = b""  # what a board wrote, where there is no firmware to take it
        self._lock = threading.Lock()
        self._master = -1
        self._thread: threading.Thread | None = None
        self.plug()

    def plug(self) -> None:
        """Plug it in: the port is there, and another one than before."""
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)  # it looks readable while nobody has the other end open, and is not when somebody opens it
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)
        self._thread = threading.Thread(target=self._listen, args=(self._master,), daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull it out: whoever has it open is told by the kernel, and the name goes."""
        self.path.unlink(missing_ok=True)
        with self._lock:
            os.close(self._master)
            self._master = -1
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        if self._master >= 0:
            self.unplug()

    def say(self, data: bytes | Callable[[], bytes]) -> None:
        """Send bytes to the board, or what the firmware makes now; waits while the line is full."""
        with self._lock:  # the firmware numbers its frames, answers among them
            self._write(data if isinstance(data, bytes) else data())

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            select.select([], [self._master], [])
            with suppress(BlockingIOError):
                left = left[os.write(self._master, left) :]

    def _listen(self, master: int) -> None:
        """Take what the board writes, until the cable is pulled; while nobody has the port open there is nothing."""
        while True:
            with self._lock:
                if self._master != master:
                    return
                data = _waiting(master)
                if data and self.firmware is not None:
                    self._write(self.firmware.receive(data))
                elif data:
                    self.heard += data
            threading.Event().wait(0.002)


def _waiting(master: int) -> bytes:
    ready, _, _ = select.select([master], [], [], 0)
    try:
        return os.read(master, 65536) if ready else b""
    except OSError:  # nobody has the other end open, or has had it just now
        return b""
