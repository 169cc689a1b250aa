"""What goes out: a message, and the Will that a broker keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Message:
    """A message to publish. `content_type` and `properties` go out on MQTT 5 only."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    content_type: str = ""
    properties: dict[str, str] | None = None


@dataclass(frozen=True)
class Will:
    """What the broker publishes, retained, when the device is lost."""

    topic: str
    payload: bytes
