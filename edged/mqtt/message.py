"""What goes out: a message, and the Will that a broker keeps."""

from __future__ import annotations

from dataclasses import dataclass

from edged.hold import Hold

NOT_NOW = -1  # what handing a message over gives where there is no connection any more


@dataclass(slots=True)
class Message:
    """A message to publish. `content_type` and `properties` go out on MQTT 5 only.

    `stream` is not 0 for messages that may wait on disk; those of one stream keep their order.
    `durable` ones are written there in any case. `hold` is released once, when the message is
    on disk, acknowledged by the broker, or dropped and counted.

    `row` and `sent` belong to the outbox: where it is on disk (0: it is not), and the monotonic
    nanoseconds at which it was handed over.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    content_type: str = ""
    properties: dict[str, str] | None = None
    stream: int = 0
    durable: bool = False
    hold: Hold | None = None
    row: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Will:
    """What the broker publishes, retained, when the device is lost."""

    topic: str
    payload: bytes
