"""Cuts a stream of MQTT into packets as it passes, and takes single ones out.

Nothing waits for the end of a packet: once its topic is known, what comes of it goes on, or does not.
A stream that does not begin as MQTT (TLS, HTTP) passes as it is.
"""

from __future__ import annotations

from collections.abc import Callable

_BEGINNINGS = (0x10, 0x20)  # CONNECT, CONNACK
_PUBLISH = 0x30
_LONGEST_HEAD = 5 + 2 + 0xFFFF

# Takes a PUBLISH's topic, its QoS and the bytes of the whole packet; says whether it goes on.
Judge = Callable[[str, int, int], bool]


class Packets:
    """One direction of one connection. `judge` hears of each PUBLISH, once."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._head = b""
        self._left = 0  # bytes to come of the packet that is passing
        self._goes_on = True
        self._plain: bool | None = None  # not MQTT; None: nothing came yet

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; give those that go on. The first bytes of a packet may be held until there are more of them."""
        if self._plain is None and data:
            self._plain = data[0] not in _BEGINNINGS
        if self._plain:
            return data
        out: list[bytes] = []
        data, self._head = self._head + data, b""
        pos = 0
        while pos < len(data):
            if not self._left:
                size = self._begin(data, pos)
                if not size:
                    self._head = data[pos:]
                    break
                self._left = size
            taken = min(self._left, len(data) - pos)
            if self._goes_on:
                out.append(data[pos : pos + taken])
            self._left -= taken
            pos += taken
        return out[0] if len(out) == 1 else b"".join(out)

    def _begin(self, data: bytes, start: int) -> int:
        """Judge the packet at `start`; give its size, 0 where its head is not whole yet."""
        length, pos = 0, start + 1
        for shift in range(0, 28, 7):
            if pos >= len(data):
                return 0
            length |= (data[pos] & 0x7F) << shift
            pos += 1
            if data[pos - 1] < 0x80:
                break
        size = pos - start + length
        self._goes_on = True
        if data[start] & 0xF0 == _PUBLISH and length >= 2:
            if len(data) < pos + 2:
                return 0
            end = pos + 2 + (data[pos] << 8 | data[pos + 1])
            if len(data) < end <= start + size:
                return 0
            topic = data[pos + 2 : end].decode(errors="replace")
            self._goes_on = self._judge(topic, data[start] >> 1 & 3, size)
        return size
