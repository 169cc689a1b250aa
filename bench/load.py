"""A load generator: MQTT PUBLISH packets made beforehand, sent over a raw socket.

It costs far less than what it measures: whole blocks of packets in one send, and the
broker's acknowledgements are only counted.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, byte = divmod(n, 128)
        out.append(byte | (0x80 if n else 0))
        if not n:
            return bytes(out)


def publish_packet(topic: bytes, payload: bytes, mid: int) -> bytes:
    """Encode one QoS 1 PUBLISH (MQTT 3.1.1)."""
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", mid) + payload
    return b"\x32" + _length(len(body)) + body


def connect(port: int, client_id: bytes) -> socket.socket:
    """Open a connection with a clean session."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + struct.pack(">H", len(client_id)) + client_id
    sock.sendall(b"\x10" + _length(len(body)) + body)
    if sock.recv(4)[3] != 0:
        raise RuntimeError("the broker refuses the load generator")
    return sock


def json_messages(recording: list[tuple[float, float, float]], count: int, topics: list[bytes], start_ms: int) -> list[tuple[bytes, bytes]]:
    """One JSON reading a message, round the topics; 26 Hz in event time for each topic."""
    out = []
    for i in range(count):
        turn, which = divmod(i, len(topics))
        x, y, z = recording[turn % len(recording)]
        body = json.dumps({"ts": start_ms + int(turn * 1000 / 26), "acc": {"x": x, "y": y, "z": z}}, separators=(",", ":"))
        out.append((topics[which], body.encode()))
    return out


def packed_messages(recording: list[tuple[float, float, float]], count: int, topic: bytes, readings: int) -> list[tuple[bytes, bytes]]:
    """Many int16 readings a message."""
    out, n = [], len(recording)
    for i in range(count):
        rows = [recording[(i * readings + k) % n] for k in range(readings)]
        out.append((topic, b"".join(struct.pack("<hhh", *map(int, row)) for row in rows)))
    return out


class Sender:
    """Sends messages as fast as the broker acknowledges them, or at a rate; counts PUBACKs.

    `window` bounds what is unacknowledged, so that the broker's queues never overflow.
    """

    def __init__(self, port: int, window: int = 1000) -> None:
        self._sock = connect(port, b"load")
        self._window = window

    def send(self, messages: list[tuple[bytes, bytes]], rate: float = 0.0, block: int = 50) -> float:
        """Send all and wait for the last acknowledgement; give the seconds it took. `rate` 0: as fast as it goes."""
        packets = [publish_packet(topic, payload, i % 65535 + 1) for i, (topic, payload) in enumerate(messages)]
        block = max(1, min(block, int(rate / 200))) if rate else block
        start = time.perf_counter()
        sent = acked = 0
        while acked < len(packets):
            if sent < len(packets) and sent - acked < self._window:
                if rate:
                    time.sleep(max(0.0, start + sent / rate - time.perf_counter()))
                self._sock.sendall(b"".join(packets[sent : sent + block]))
                sent = min(len(packets), sent + block)
                wait = 0.0
            else:
                wait = 5.0
            while select.select([self._sock], [], [], wait)[0]:
                data = self._sock.recv(65536)
                if not data:
                    raise RuntimeError("the broker closed the load generator's connection")
                acked += len(data) // 4
                wait = 0.0
        return time.perf_counter() - start


class Results:
    """Subscribes to results and notes when each came in."""

    def __init__(self, port: int, topic_filter: str) -> None:
        import paho.mqtt.client as mqtt

        self.seen: list[tuple[float, bytes]] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "results")
        self._client.on_connect = lambda c, *_: c.subscribe(topic_filter, 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _u, message: self.seen.append((time.perf_counter(), message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._ready.wait(5)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
