"""A broker of our own on loopback, for trying things out (`url = "embedded"`).

It holds everything in memory, runs in a process of its own and dies with this one. It speaks
MQTT 3.1.1.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edged.errors import BoardError


class EmbeddedBroker:
    """A running broker at `port` of 127.0.0.1; `stop` ends it."""

    def __init__(self) -> None:
        """Start it; BoardError(`embedded-broker-missing`) where its package is not installed."""
        try:
            from iotcore import Broker
        except ImportError as error:
            raise BoardError(
                "embedded-broker-missing",
                "the embedded broker is not installed",
                "pip install 'edged[demo]', or name a broker of your own in `url`",
            ) from error
        self.port = _free_port()
        self._broker: Any = Broker(port=self.port, listen="127.0.0.1")  # its own default listens to everyone
        try:
            with _sheltered_from_ctrl_c():
                self._broker.start()
        except (OSError, RuntimeError) as error:
            raise BoardError(
                "embedded-broker-failed", f"the embedded broker does not start: {error}", "name a broker of your own in `url`"
            ) from error

    @property
    def url(self) -> str:
        """Give the address for clients."""
        return f"mqtt://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End the broker."""
        self._broker.stop()


@contextmanager
def _sheltered_from_ctrl_c() -> Iterator[None]:
    """Start processes within it that Ctrl-C on their terminal does not end before us: we end them, when it is their turn."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
