"""What a connection to a broker asks of TCP, so that small messages wait for nothing. Linux."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

UNSENT = 128 << 10  # bytes that the kernel takes and has not sent
_TCP_NOTSENT_LOWAT = 25  # tcp(7); Python has no name for it


def hurry(sock: socket.socket) -> None:
    """Have what is written go out at once.

    Nagle's algorithm would wait 40 ms for the peer's delayed ACK. And the kernel takes megabytes that are not sent yet: on a line
    of 1 MB/s, full of a model's bytes, an order was seen to wait 9 s behind them, and 3 s with this bound.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT)


def ack_quickly(sock: Any) -> None:
    """Have TCP acknowledge at once: brokers keep Nagle's algorithm on, and wait for it. It wears off: ask each time."""
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
