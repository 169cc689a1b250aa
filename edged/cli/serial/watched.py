"""A port that is watched: open, unplugged, open again, as long as somebody looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.observation import Happened, Observation, Seen
from firmware_bridge.port import Port, PortError

AGAIN_NS = 500_000_000  # between two attempts to open it


@dataclass(frozen=True)
class Opened:
    """The port is open, for the first time or again."""


@dataclass(frozen=True)
class Lost:
    """The port went away, or cannot be opened again for another reason than before."""

    error: PortError


Came = Happened | Opened | Lost


@dataclass(frozen=True)
class View:
    """All there is to show: the port, what is wrong with it (None: open), how often it went away, what was seen, and after how long."""

    port: str
    baud: int
    at_s: float
    error: PortError | None
    unplugged: int
    seen: Seen


class WatchedPort:
    """Reads a port and opens it again whenever it went away. Used by one thread."""

    def __init__(self, path: str, baud: int, framing: str, mono: Callable[[], int]) -> None:
        """Open it; `mono` gives monotonic nanoseconds. Raises PortError: what is not there at first is most often a wrong path."""
        self._path, self._baud, self._mono = path, baud, mono
        self._port: Port | None = Port.open(path, baud)
        self._began_ns = self._tried_ns = mono()
        self._observation = Observation(framing, self._began_ns)
        self._unsent = b""
        self._error: PortError | None = None
        self._unplugged = 0

    def turn(self, wait_s: float) -> list[Came]:
        """Wait at most so long for bytes; give what came."""
        try:
            return self._read(self._port, wait_s) if self._port else self._try_again(wait_s)
        except PortError as error:
            self._unplugged += 1
            self.close()
            return self._failed(error)

    @property
    def passed_s(self) -> float:
        """How long it has been watched."""
        return (self._mono() - self._began_ns) / 1e9

    def view(self) -> View:
        """Give everything as it is now."""
        now = self._mono()
        return View(self._path, self._baud, (now - self._began_ns) / 1e9, self._error, self._unplugged, self._observation.seen(now))

    def close(self) -> None:
        """Let the port go."""
        if self._port:
            self._port.close()
        self._port = None

    def _read(self, port: Port, wait_s: float) -> list[Came]:
        data = port.read(wait_s)
        now = self._mono()
        came: list[Came] = [*self._observation.receive(data, now)] if data else []
        self._observation.wake(now)
        self._unsent = self._unsent or self._observation.take()
        self._unsent = self._unsent[port.write(self._unsent) :]
        return came

    def _try_again(self, wait_s: float) -> list[Came]:
        time.sleep(wait_s)
        now = self._mono()
        if now - self._tried_ns < AGAIN_NS:
            return []
        self._tried_ns = now
        try:
            self._port = Port.open(self._path, self._baud)
        except PortError as error:
            # What is unplugged is missing, too: that is nothing new.
            return [] if error.code == "port-missing" else self._failed(error)
        self._error, self._unsent = None, b""
        self._observation.opened(now)
        return [Opened()]

    def _failed(self, error: PortError) -> list[Came]:
        told = self._error is not None and self._error.code == error.code
        self._error = error
        return [] if told else [Lost(error)]
