"""A stream of bytes into MQTT packets, as far as counting and cutting them needs."""

from __future__ import annotations

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14


class Splitter:
    """Keeps what is incomplete for the next bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of a connection; give the packets that are complete."""
        data = self._rest + data
        packets = []
        start = 0
        while (end := _end(data, start)) and end <= len(data):
            packets.append(data[start:end])
            start = end
        self._rest = data[start:]
        return packets


def _end(data: bytes, start: int) -> int:
    """Give where the packet at `start` ends; 0 where its length is not in yet."""
    length = 0
    for i, byte in enumerate(data[start + 1 : start + 5]):
        length |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return start + 2 + i + length
    return 0
