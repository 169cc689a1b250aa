"""The other side of the broker: an MQTT client that publishes readings and keeps what it hears.

It is paho as its users run it, with nothing of edged in it.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.waiting import PATIENCE_S, until


class Peer:
    """A connected client; use it as a context."""

    def __init__(
        self,
        port: int,
        *filters: str,
        version: str = "5",
        client_id: str = "",
        user: str = "",
        password: str = "",
        websockets: bool = False,
        ca: object = None,
    ) -> None:
        """Connect, subscribe to `filters`, and wait until the broker has said yes. With a `client_id` the session is kept."""
        self.messages: list[MQTTMessage] = []
        self._ready = threading.Event()
        self._filters = filters
        transport = "websockets" if websockets else "tcp"
        protocol = MQTTv5 if version == "5" else MQTTv311
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol, transport=transport)  # type: ignore[arg-type]
        self._client.max_inflight_messages_set(500)
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_connect = self._connected
        if user:
            self._client.username_pw_set(user, password)
        if ca:
            self._client.tls_set(str(ca), cert_reqs=ssl.CERT_REQUIRED)
        self._client.connect("127.0.0.1", port, **(_kept_session() if client_id else {}))
        self._client.loop_start()
        assert self._ready.wait(PATIENCE_S)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        with suppress(AttributeError):  # paho's thread may end, and be forgotten, between paho's look at it and its join
            self._client.loop_stop()
        # Without a circle of references it closes its sockets when it goes; the garbage collector may take these first, and complain.
        self._client.on_message = self._client.on_subscribe = self._client.on_connect = None

    def publish(self, topic: str, payload: bytes | str, qos: int = 1, retain: bool = False) -> None:
        """Publish one message, and wait until the broker has it."""
        self.publish_all(topic, [payload], qos, retain)

    def publish_all(self, topic: str, payloads: Iterable[bytes | str], qos: int = 1, retain: bool = False) -> None:
        """Publish messages in their order, and wait until the broker has them all."""
        sent = [self._client.publish(topic, payload, qos, retain) for payload in payloads]
        for each in sent:
            each.wait_for_publish(PATIENCE_S)
            assert each.is_published()

    def on(self, topic: str) -> list[MQTTMessage]:
        """Give what came on `topic`, in the order it came."""
        return [message for message in list(self.messages) if message.topic == topic]

    def wait(self, topic: str, count: int = 1) -> list[MQTTMessage]:
        """Wait for `count` messages on `topic`; give all there are."""
        until(lambda: len(self.on(topic)) >= count, f"{count} messages on {topic}", lambda: [m.topic for m in self.messages][-50:])
        return self.on(topic)

    def results(self, topic: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for `count` JSON messages on `topic`; give all there are."""
        return [json.loads(message.payload) for message in self.wait(topic, count)]

    def _connected(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        assert not reason.is_failure, reason
        if self._filters:
            client.subscribe([(each, 1) for each in self._filters])
        else:
            self._ready.set()


def properties_of(message: MQTTMessage) -> dict[str, Any]:
    """Give the MQTT 5 properties of a message."""
    assert message.properties is not None
    return dict(message.properties.json())  # type: ignore[no-untyped-call]


def _kept_session() -> dict[str, Any]:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    return {"clean_start": False, "properties": properties}
