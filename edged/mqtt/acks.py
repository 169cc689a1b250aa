"""Acknowledge what came, in the order it came: MQTT asks for it (3.1.1 and 5.0, section 4.6).

To a client that did not, Mosquitto 2.0.11 was seen to send new messages before queued ones.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class _Block:
    """The packet identifiers of messages that came together."""

    __slots__ = ("connection", "done", "mids")

    def __init__(self, mids: list[int], connection: int) -> None:
        self.mids = mids
        self.connection = connection
        self.done = False


class Acks:
    """What came on one link and is not acknowledged yet, the oldest first."""

    def __init__(self, send: Callable[[list[int], int], None]) -> None:
        """`send` acknowledges packet identifiers of a connection; from any thread."""
        self._send = send
        self._blocks: deque[_Block] = deque()
        self._lock = threading.Lock()

    def expect(self, mids: list[int], connection: int) -> Callable[[], None]:
        """Note a block that came; give what is to be called, from any thread, when it may be acknowledged."""
        block = _Block(mids, connection)
        with self._lock:
            if self._blocks and self._blocks[0].connection != connection:
                self._blocks.clear()  # the broker sends them again
            self._blocks.append(block)
        return lambda: self._done(block)

    def _done(self, block: _Block) -> None:
        with self._lock:  # also while they are sent: the order is the point
            block.done = True
            ready: list[int] = []
            while self._blocks and self._blocks[0].done:
                ready += self._blocks.popleft().mids
            if ready:
                self._send(ready, block.connection)
