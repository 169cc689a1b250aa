"""Publish results to a broker; the link's outbox is behind it."""

from __future__ import annotations

import hashlib

from edged.hold import Hold
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.topics import fill
from edged.records import Outgoing, Result
from edged.stream.formats.choose import Format

_CACHED_TOPICS = 20_000


class MqttOutput:
    """One topic template on one link; an `outputs.base.Output`.

    `names` are the placeholders that are the same for all results (fleet, device, pipeline,
    model); a result's labels fill the others. On MQTT 5 a format with a binary mode uses it.
    `durable` results are written to disk also while the broker takes them.
    """

    failing: str | None = None  # the link's own state says what is wrong with the broker
    finished = False

    def __init__(self, link: Link, template: str, names: dict[str, str], format_: Format, qos: int, durable: bool) -> None:
        self.dropped: dict[str, int] = {}
        self._link = link
        self._template = template
        self._names = names
        self._format = format_
        self._qos = qos
        self._durable = durable
        self._routes: dict[str, tuple[str, int]] = {}  # by stream: its topic, and a number that tells it from others

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        """Queue the results in this order; what the outbox lets go is counted by the link."""
        self._link.wait_for_room()
        binary = self._link.version == "5" and self._format.encode_binary is not None
        for each in outgoing:
            topic, stream = self._routes.get(each.result.key) or self._route(each.result)
            properties: dict[str, str] | None = None
            if binary and self._format.encode_binary is not None:
                payload, properties = self._format.encode_binary(each.result)
                kind = properties.pop("datacontenttype", "")
            else:
                payload, kind = self._format.encode(each.result), self._format.content_type
            if hold:
                hold.take()
            self._link.publish(Message(topic, payload, self._qos, False, kind, properties, stream, self._durable, hold))

    def close(self) -> None:
        """Do nothing: the link is stopped by its owner, after all outputs."""

    def _route(self, result: Result) -> tuple[str, int]:
        if len(self._routes) >= _CACHED_TOPICS:
            self._routes.clear()
        topic = fill(self._template, {**result.labels, **self._names})
        about = "\x00".join((self._names["pipeline"], topic, result.key)).encode("utf-8", "surrogatepass")
        stream = int.from_bytes(hashlib.blake2b(about, digest_size=8).digest(), "big", signed=True) or 1
        self._routes[result.key] = topic, stream
        return topic, stream
