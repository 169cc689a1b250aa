"""Events of a device: `evt/{kind}`, numbered by kind, so that who reads them sees that one is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edged.clock import Clock, iso
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics


class Events:
    """Makes the events of one run; `publish` may be called from any thread."""

    def __init__(self, topics: DeviceTopics, clock: Clock, publish: Callable[[Message], None]) -> None:
        self._topics = topics
        self._clock = clock
        self._publish = publish
        self._numbers: dict[str, int] = {}

    def tell(self, kind: str, content: dict[str, Any]) -> None:
        """Publish one event. Each kind belongs to one thread at a time."""
        number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
        event = {"v": 1, "number": number, "time": iso(self._clock.wall()), **content}
        self._publish(Message(self._topics.event(kind), msgspec.json.encode(event)))
