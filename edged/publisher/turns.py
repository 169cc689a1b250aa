"""Whose turn it is: requests of many devices, one fragment of each device after the other. Pure; for one thread."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

from edged.exchange.blobs import Request

MOST_OF_A_DEVICE = 64
MOST = 1 << 16  # of all devices: some 30 MB


class Turn(NamedTuple):
    """A fragment that is due: `length` bytes from `offset` on, for a device's request."""

    device: str
    request: Request
    offset: int
    length: int


class _Asked:
    """A request, and from where on to where it is to be answered."""

    __slots__ = ("at", "end", "request")

    def __init__(self, request: Request, size: int) -> None:
        self.request = request
        self.at = request.off
        self.end = min(request.off + request.len, size)


class Turns:
    """Requests that wait. What a device asks for is answered in the order in which it asked."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, deque[_Asked]] = OrderedDict()  # whose turn is next, first
        self.waiting = 0

    @property
    def devices(self) -> int:
        """Count the devices that wait."""
        return len(self._devices)

    def put(self, device: str, request: Request, size: int) -> bool:
        """Take a request for a blob of `size` bytes; False where too many wait. One that waits already is not taken twice."""
        asked = self._devices.get(device)
        if asked is not None and any(each.request == request for each in asked):
            return True
        if self.waiting >= MOST or (asked is not None and len(asked) >= MOST_OF_A_DEVICE):
            return False
        self._devices.setdefault(device, deque()).append(_Asked(request, size))
        self.waiting += 1
        return True

    def next(self) -> Turn | None:
        """Give the fragment that is due; the device is last from then on. None where nobody waits."""
        if not self._devices:
            return None
        device, asked = self._devices.popitem(last=False)
        head = asked[0]
        request, offset = head.request, head.at
        length = min(request.frag, head.end - offset)
        head.at += length
        if head.at >= head.end:
            self._end_first(asked)
        if asked:
            self._devices[device] = asked
        return Turn(device, request, offset, length)

    def end(self, device: str, request: Request) -> None:
        """Forget what is left of a request whose turn it was."""
        asked = self._devices.get(device)
        if asked and asked[0].request == request:
            self._end_first(asked)
            if not asked:
                del self._devices[device]

    def clear(self) -> None:
        """Forget all: who asked asks again."""
        self._devices.clear()
        self.waiting = 0

    def _end_first(self, asked: deque[_Asked]) -> None:
        asked.popleft()
        self.waiting -= 1
