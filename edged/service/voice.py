"""How the control path speaks for the device: under its topics, on its first broker, from any thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics


@dataclass(frozen=True)
class Voice:
    """`publish` says something; `rebirth` says again what the device is, and what it reports."""

    topics: DeviceTopics
    publish: Callable[[Message], None]
    rebirth: Callable[[], None]
