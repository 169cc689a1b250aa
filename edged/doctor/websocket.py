"""MQTT inside WebSocket frames, as far as a check needs it (RFC 6455).

The answer is bounded: at most 16 KiB of HTTP, frames of at most 64 KiB.
"""

from __future__ import annotations

import base64
import hashlib
import os
from struct import pack

from edged.config.addresses import BrokerUrl
from edged.doctor.finding import Trouble, error
from edged.doctor.line import Stream, at

_MOST_HEAD, _MOST_FRAME = 1 << 14, 1 << 16
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10


class WebSocket:
    """A `Stream` over another."""

    def __init__(self, inner: Stream, url: BrokerUrl) -> None:
        """Ask for the upgrade; Trouble(`broker-no-websocket`) where it is refused."""
        self._inner = inner
        self._url = url
        key = base64.b64encode(os.urandom(16))
        lines = (
            f"GET {url.path or '/mqtt'} HTTP/1.1",
            f"Host: {at(url)}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key.decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: mqtt",
        )
        inner.send("\r\n".join([*lines, "", ""]).encode())
        self._rest = self._upgraded(base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest()))

    def send(self, data: bytes) -> None:
        """Send one frame; see `Stream`."""
        self._send(_BINARY, data)

    def receive(self) -> bytes:
        """Give the payload of the next frame that has one; see `Stream`."""
        try:
            while True:
                kind, payload = self._frame()
                if kind == _PING:
                    self._send(_PONG, payload)
                elif kind == _CLOSE:
                    return b""
                elif kind != _PONG and payload:
                    return payload
        except EOFError:
            return b""

    def _send(self, kind: int, data: bytes) -> None:
        """Write a frame; a client's are masked, and what the mask is does not matter here."""
        length = pack(">B", 0x80 | len(data)) if len(data) < 126 else pack(">BH", 0x80 | 126, len(data))
        self._inner.send(bytes([0x80 | kind]) + length + b"\x00\x00\x00\x00" + data)

    def _upgraded(self, proof: bytes) -> bytes:
        """Read the answer's head; give what came behind it."""
        data = b""
        while b"\r\n\r\n" not in data and len(data) < _MOST_HEAD:
            part = self._inner.receive()
            if not part:
                break
            data += part
        head, _, rest = data.partition(b"\r\n\r\n")
        if not (head.startswith(b"HTTP/1.1 101") and proof in head):
            first = head.split(b"\r\n", 1)[0][:80].decode("ascii", "replace") or "nothing"
            text = f"{at(self._url)}{self._url.path or '/mqtt'} does not take WebSockets: it answers {first}"
            raise Trouble(error("broker-no-websocket", text, "check port and path in `url`; brokers often have /mqtt"))
        return rest

    def _frame(self) -> tuple[int, bytes]:
        head = self._take(2)
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        if length > _MOST_FRAME or length == 127:
            raise Trouble(error("broker-not-mqtt", f"{at(self._url)} sends frames longer than 64 KiB before it is asked for anything"))
        return head[0] & 0x0F, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            part = self._inner.receive()
            if not part:
                raise EOFError
            self._rest += part
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken
