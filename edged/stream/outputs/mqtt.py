"""Publish results to a broker; the link's outbox is behind it."""

from __future__ import annotations

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
    """

    failing: str | None = None  # the link's own state says what is wrong with the broker
    finished = False

    def __init__(self, link: Link, template: str, names: dict[str, str], format_: Format, qos: int) -> None:
        self.dropped: dict[str, int] = {}
        self._link = link
        self._template = template
        self._names = names
        self._format = format_
        self._qos = qos
        self._topics: dict[str, str] = {}

    def deliver(self, outgoing: list[Outgoing]) -> None:
        """Queue the results in this order; what the outbox lets go is counted by the link."""
        self._link.wait_for_room()
        binary = self._link.version == "5" and self._format.encode_binary is not None
        for each in outgoing:
            topic = self._topics.get(each.result.key) or self._topic(each.result)
            if binary and self._format.encode_binary is not None:
                payload, properties = self._format.encode_binary(each.result)
                message = Message(topic, payload, self._qos, False, properties.pop("datacontenttype", ""), properties)
            else:
                message = Message(topic, self._format.encode(each.result), self._qos, False, self._format.content_type)
            self._link.publish(message)

    def close(self) -> None:
        """Do nothing: the link is stopped by its owner, after all outputs."""

    def _topic(self, result: Result) -> str:
        if len(self._topics) >= _CACHED_TOPICS:
            self._topics.clear()
        topic = fill(self._template, {**result.labels, **self._names})
        self._topics[result.key] = topic
        return topic
