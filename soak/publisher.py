"""Sensors that go on while their broker is there: messages of some signals, in their order, at a rate.

It is paho as its users run it, with a session that the broker keeps.
"""

from __future__ import annotations

import random
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Sequence

from paho.mqtt.client import Client, MQTTMessageInfo, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from soak.signals import Signal
from tests.waiting import PATIENCE_S, until

_BAD = b"\x01"  # no layout is one byte long
_PACE_S = 0.005
_AT_ONCE = 500  # messages on their way to the broker


class Sent:
    """What one stream has published."""

    def __init__(self) -> None:
        self.readings = 0
        self.messages = 0  # with the bad ones
        self.bad = 0
        self._firsts = array("q")
        self._times = array("d")

    def add(self, count: int) -> None:
        """Note a message with `count` readings that goes out now."""
        self._firsts.append(self.readings)
        self._times.append(time.monotonic())
        self.readings += count
        self.messages += 1

    def published_at(self, reading: int) -> float:
        """Give when a reading went out, monotonic seconds."""
        return self._times[bisect_right(self._firsts, reading) - 1]


class Publisher:
    """Publishes the signals' streams in a random order. `start` goes on by itself, `send` a number of messages at once."""

    def __init__(self, port: int, signals: Sequence[Signal], rng: random.Random, name: str = "sensors") -> None:
        """Connect; give up where the broker is not there."""
        self.sent = {signal.name: [Sent() for _ in range(signal.keys)] for signal in signals}
        self._streams = [(signal, key) for signal in signals for key in range(signal.keys)]
        self._rng = rng
        self._rate = 0.0
        self._going = threading.Event()
        self._sending = threading.Lock()
        self._broke = threading.Event()
        self._last: MQTTMessageInfo | None = None  # with QoS 1
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._client = Client(CallbackAPIVersion.VERSION2, name, clean_session=False, protocol=MQTTv311)
        self._client.max_inflight_messages_set(0)  # all at once: the broker's order is ours
        self._client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type]
        self._client.on_disconnect = lambda *_: self._broke.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._thread.start()

    @property
    def messages(self) -> int:
        """Count what went out."""
        return sum(sent.messages for streams in self.sent.values() for sent in streams)

    def total(self, signal: Signal) -> int:
        """Count the messages of one signal, the bad ones included."""
        return sum(sent.messages for sent in self.sent[signal.name])

    def bad(self, signal: Signal) -> int:
        """Count the bad messages of one signal."""
        return sum(sent.bad for sent in self.sent[signal.name])

    def start(self, rate: float) -> None:
        """Publish `rate` messages a second from now on."""
        self._rate = rate
        self._going.set()

    def pause(self) -> None:
        """Stop, and wait until the broker has everything."""
        with self._sending:
            self._going.clear()
        self._flush()

    def send(self, count: int) -> None:
        """Publish `count` messages, and wait until the broker has them. Not while `start` holds."""
        while count > 0:
            until(self._is_in_order, "the broker is back for the sensors")
            for _ in range(min(count, _AT_ONCE)):
                self._one()
            self._flush()
            count -= _AT_ONCE

    def close(self) -> None:
        """Leave."""
        self._ending = True
        self._going.set()
        self._thread.join(PATIENCE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _flush(self) -> None:
        until(self._is_in_order, "the broker is back for the sensors")
        last = self._client.publish("soak/flush", b"", 1)  # comes last: all before it have come, those with QoS 0 too
        last.wait_for_publish(PATIENCE_S)
        assert last.is_published(), "the broker does not take what is published"

    def _run(self) -> None:
        while not self._ending:
            self._going.wait()
            due = time.monotonic()
            while self._going.is_set() and not self._ending:
                with self._sending:
                    while due <= time.monotonic() and self._going.is_set() and self._is_in_order():
                        self._one()
                        due += 1 / self._rate
                time.sleep(_PACE_S)

    def _is_in_order(self) -> bool:
        """Say whether a message sent now comes behind all others: at a reconnect paho lets new ones pass those that it sends again."""
        if self._broke.is_set() and self._client.is_connected() and (self._last is None or self._last.is_published()):
            self._broke.clear()
        return not self._broke.is_set()

    def _one(self) -> None:
        signal, key = self._rng.choice(self._streams)
        sent = self.sent[signal.name][key]
        if signal.bad_every and sent.messages % signal.bad_every == signal.bad_every - 1:
            sent.messages += 1
            sent.bad += 1
            self._publish(signal, key, _BAD)
            return
        count = self._rng.choice(signal.sizes)
        payload = signal.payload(key, sent.readings, count)
        sent.add(count)
        self._publish(signal, key, payload)

    def _publish(self, signal: Signal, key: int, payload: bytes) -> None:
        info = self._client.publish(signal.topic(key), payload, signal.qos)
        if signal.qos:
            self._last = info
