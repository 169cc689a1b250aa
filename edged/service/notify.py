"""Tell systemd how the service is, with the sd_notify protocol: datagrams of `KEY=value` lines.

See sd_notify(3). Where systemd did not ask (no NOTIFY_SOCKET), everything here does nothing.
Nothing here raises: a daemon does not stop because its supervisor does not listen.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from edged.clock import NS, Clock, SystemClock

MAX_STATUS = 200
_PATIENCE_S = 1.0
_FEEDS = 4  # in the time after which systemd loses patience: three may get lost


class Notify:
    """Says what happens to who started us. One thread uses it."""

    def __init__(self, address: str = "", watchdog_s: float | None = None, clock: Clock | None = None) -> None:
        """`address`: path of a datagram socket, `@name` for an abstract one, empty for nobody."""
        self.watchdog_s = watchdog_s
        self._clock = clock or SystemClock()
        self._address = _address(address)
        self._status = ""
        self._fed: int | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], clock: Clock | None = None) -> Notify:
        """Take what systemd left in `environ` out of it, so that no child speaks in our name."""
        address, usec, pid = (environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        ours = not pid or pid == str(os.getpid())
        return cls(address, _seconds(usec) if ours else None, clock)

    def ready(self, status: str) -> None:
        """Say that the start is over and the service serves."""
        self._send("READY=1", *self._news(status))

    def status(self, text: str) -> None:
        """Say in one line how it is, for `systemctl status`; what was said before is not said again."""
        self._send(*self._news(text))

    def alive(self) -> None:
        """Feed the watchdog, where there is one. May be called as often as one likes: few datagrams go out."""
        if self.watchdog_s is None:
            return
        now = self._clock.mono()
        if self._fed is None or now - self._fed >= self.watchdog_s / _FEEDS * NS:
            self._fed = now
            self._send("WATCHDOG=1")

    def more_time(self, seconds: float) -> None:
        """Ask for `seconds` from now before a start or stop counts as failed; again while it lasts."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def stopping(self, status: str = "stopping") -> None:
        """Say that the service has begun to stop."""
        self._send("STOPPING=1", *self._news(status))

    def _news(self, status: str) -> list[str]:
        line = "".join(char if char.isprintable() else " " for char in status[:MAX_STATUS])
        if line == self._status:
            return []
        self._status = line
        return [f"STATUS={line}"]

    def _send(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_PATIENCE_S)  # systemd reads all the time; where it does not, the data path must not wait
                sender.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):  # ValueError: a NUL in the path
            pass


def _address(text: str) -> str:
    """Give what the socket library takes; empty for a kind of address that we do not speak, such as `vsock:`."""
    return {"/": text, "@": "\0" + text[1:]}.get(text[:1], "")


def _seconds(usec: str) -> float | None:
    return int(usec) / 1_000_000 if usec.isascii() and usec.isdigit() and len(usec) < 20 and int(usec) else None
