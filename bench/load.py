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

Message = tuple[bytes, bytes]
Reading = tuple[float, float, float]


def json_messages(recording: list[Reading], count: int, topics: list[bytes], start_ms: int) -> list[Message]:
    """One JSON reading a message, round the topics; 26 Hz in event time for each topic."""
    out = []
    for i in range(count):
        turn, which = divmod(i, len(topics))
        x, y, z = recording[turn % len(recording)]
        body = json.dumps({"ts": start_ms + int(turn * 1000 / 26), "acc": {"x": x, "y": y, "z": z}}, separators=(",", ":"))
        out.append((topics[which], body.encode()))
    return out


def packed_messages(recording: list[Reading], count: int, topic: bytes, readings: int) -> list[Message]:
    """Give `count` messages of int16 readings, `readings` each."""
    raw = b"".join(struct.pack("<hhh", *map(int, row)) for row in recording) * 2
    whole = len(recording) * 6
    return [(topic, raw[start : start + readings * 6]) for start in (i * readings * 6 % whole for i in range(count))]


class Sender:
    """Sends messages as fast as the broker acknowledges them, or at a rate; counts PUBACKs.

    `window` bounds what is unacknowledged, so that the broker's queues never overflow.
    """

    def __init__(self, port: int, window: int = 1000) -> None:
        self._sock = _connect(port, b"load")
        self._window = window

    def send(self, messages: list[Message], rate: float = 0.0) -> list[float]:
        """Send all and wait for the last acknowledgement; give when each block of messages went out, by message.

        `rate` in messages a second; 0: as fast as it goes.
        """
        packets = [_publish(topic, payload, i % 65535 + 1) for i, (topic, payload) in enumerate(messages)]
        block = max(1, int(rate / 1000)) if rate else 50
        times: list[float] = []
        start = time.perf_counter()
        acked = 0
        while acked < len(packets):
            sent = len(times)
            may_send = sent < len(packets) and sent - acked < self._window
            if may_send:
                if rate:
                    time.sleep(max(0.0, start + sent / rate - time.perf_counter()))
                some = packets[sent : sent + block]
                times.extend([time.perf_counter()] * len(some))
                self._sock.sendall(b"".join(some))
            acked += self._acks(0.0 if may_send else 5.0)
        return times

    def close(self) -> None:
        """Leave the broker."""
        self._sock.close()

    def _acks(self, wait_s: float) -> int:
        count = 0
        while select.select([self._sock], [], [], wait_s)[0]:
            data = self._sock.recv(65536)
            if not data:
                raise RuntimeError("the broker closed the load generator's connection")
            count += len(data) // 4
            wait_s = 0.0
        return count


class Results:
    """Subscribes to results and notes when each came in."""

    def __init__(self, port: int, topic_filter: str) -> None:
        import paho.mqtt.client as mqtt

        self.times: list[float] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "results")
        self._client.on_connect = lambda client, *_: client.subscribe(topic_filter, 0)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda *_: self.times.append(time.perf_counter())
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._ready.wait(5)

    def wait_for(self, count: int, deadline_s: float = 60.0) -> bool:
        """Wait until `count` results came in."""
        end = time.perf_counter() + deadline_s
        while len(self.times) < count and time.perf_counter() < end:
            time.sleep(0.01)
        return len(self.times) >= count

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, byte = divmod(n, 128)
        out.append(byte | (0x80 if n else 0))
        if not n:
            return bytes(out)


def _publish(topic: bytes, payload: bytes, mid: int) -> bytes:
    """Encode one QoS 1 PUBLISH (MQTT 3.1.1)."""
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", mid) + payload
    return b"\x32" + _length(len(body)) + body


def _connect(port: int, client_id: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + struct.pack(">H", len(client_id)) + client_id
    sock.sendall(b"\x10" + _length(len(body)) + body)
    if sock.recv(4)[3] != 0:
        raise RuntimeError("the broker refuses the load generator")
    return sock
