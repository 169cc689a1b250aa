"""The subscriber: a session that the broker keeps, and every result into the ledger."""

from __future__ import annotations

import threading
import time
from typing import Any

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from soak.ledger import Ledger
from tests.waiting import PATIENCE_S


class Listener:
    """Hears the results of one device's pipelines, those that the ledger knows."""

    def __init__(self, port: int, ledger: Ledger, device: str = "press-7") -> None:
        """Subscribe; the broker must be there, and may go afterwards."""
        self.faults: list[str] = []
        self._ledger = ledger
        self._ready = threading.Event()
        filters = [(f"edged/1/+/{device}/out/{name}", 1) for name in sorted({name for name, _ in ledger.tracks})]
        self._client = Client(CallbackAPIVersion.VERSION2, f"listener-{device}", clean_session=False, protocol=MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(filters)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type]
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(PATIENCE_S), "the broker does not take the listener's subscription"

    def close(self) -> None:
        """Leave; the session stays with the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        try:
            self._ledger.note(message.payload, time.monotonic())
        except Exception as error:  # else paho's thread would end, and everything seem to lack
            self.faults.append(f"{message.topic}: {error!r}: {message.payload[:200]!r}")
