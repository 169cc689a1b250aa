"""What came from the fleet and waits for the fleet thread: metadata, desired documents, commands. Bounded whatever comes.

Filled in a connection's thread, read in the fleet thread. Of metadata and documents the last message counts; an empty one
takes them away, as brokers do with retained ones.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edged.clock import Clock
from edged.exchange.desired import MAX_DESIRED_BYTES, device_audience, group_audience
from edged.exchange.targets import (
    MAX_ROOT_BYTES,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES,
    METADATA,
)
from edged.fleet.commands import MAX_COMMAND_BYTES
from edged.mqtt.topics import DeviceTopics, FleetTopics

MOST_BYTES = 4 << 20  # of metadata
_MOST = {"timestamp": 1, "root": 256, "snapshot": 4, "targets": 4}  # the newest to come stay
_LONGEST = {"timestamp": MAX_TIMESTAMP_BYTES, "root": MAX_ROOT_BYTES, "snapshot": MAX_SNAPSHOT_BYTES, "targets": MAX_TARGETS_BYTES}
_MOST_COMMANDS = 64


@dataclass(frozen=True)
class Letter:
    """A command as it came."""

    op: str
    id: str
    payload: bytes


class Mailbox:
    """The fleet's messages to one device.

    `dropped` counts by reason; `changed_at` is when the last news came, monotonic ns, 0: none did; `heard` counts how
    often a publisher spoke just then, news or not, or could have, because a connection came up.
    """

    def __init__(self, topics: DeviceTopics, groups: Collection[str], clock: Clock, wake: Callable[[], None]) -> None:
        """`wake` is called for each message that counts."""
        self._own, self._all, self._groups, self._clock = topics, FleetTopics(topics.fleet), frozenset(groups), clock
        self.wake = wake
        self.dropped: dict[str, int] = {}
        self.changed_at = 0
        self.heard = 0
        self._lock = threading.Lock()
        self._metadata: dict[str, bytes] = {}
        self._desired: dict[str, bytes] = {}
        self._commands: deque[Letter] = deque()

    def put(self, topic: bytes, payload: bytes | None, retained: bool) -> None:
        """Take a message; `payload` is None where it was longer than any may be."""
        place = self._all.split(topic.decode("utf-8", "replace"))
        if place is None:
            return self._drop("unasked")
        whose, rest = place
        if whose == "_repo":
            self._put_metadata(rest, payload)
            self._hear(rest, retained)
        elif whose == "_grp":
            group, _, kind = rest.partition("/")
            self._put_desired(group_audience(group), payload, kind == "desired" and group in self._groups)
        elif rest == "desired":
            self._put_desired(device_audience(whose), payload, whose == self._own.device)
        elif rest.startswith("cmd/"):
            self._put_command(rest.split("/"), payload, retained)
        else:
            self._drop("unasked")

    def metadata(self, name: str) -> bytes | None:
        """Give metadata; None where none has come."""
        with self._lock:
            return self._metadata.get(name)

    def desired(self, audience: str) -> bytes | None:
        """Give the document for an audience; None where none has come."""
        with self._lock:
            return self._desired.get(audience)

    def take_commands(self) -> list[Letter]:
        """Give the commands that came, and forget them."""
        with self._lock:
            taken = list(self._commands)
            self._commands.clear()
        return taken

    def _put_metadata(self, name: str, payload: bytes | None) -> None:
        role = name.partition("/")[0]
        if not METADATA.fullmatch(name) or payload is None or len(payload) > _LONGEST[role]:
            return self._drop("metadata-too-large" if METADATA.fullmatch(name) else "unasked")
        with self._lock:
            is_news = self._metadata.pop(name, b"") != payload
            if payload:
                self._metadata[name] = payload  # the newest of its role, be it news or not
            if not is_news:
                return
            of_role = [each for each in self._metadata if each.partition("/")[0] == role]
            for each in of_role[: max(0, len(of_role) - _MOST[role])]:
                del self._metadata[each]
            while sum(map(len, self._metadata.values())) > MOST_BYTES:
                del self._metadata[next(iter(self._metadata))]
        self._note()

    def _put_desired(self, audience: str, payload: bytes | None, ours: bool) -> None:
        if not ours or payload is None or len(payload) > MAX_DESIRED_BYTES:
            return self._drop("desired-too-large" if ours else "unasked")
        with self._lock:
            if self._desired.get(audience, b"") == payload:
                return
            self._desired.pop(audience, None)
            if payload:
                self._desired[audience] = payload
        self._note()

    def _put_command(self, levels: list[str], payload: bytes | None, retained: bool) -> None:
        if retained:  # it would run again at each connection
            return self._drop("retained-command")
        if len(levels) != 3 or payload is None or len(payload) > MAX_COMMAND_BYTES or len(topic_id := levels[2]) > 64:
            return self._drop("command-too-large")
        with self._lock:
            if len(self._commands) < _MOST_COMMANDS:
                self._commands.append(Letter(levels[1], topic_id, payload))
                self.wake()
                return
        self._drop("too-many-commands")

    def _hear(self, name: str, retained: bool) -> None:
        if name == "timestamp" and not retained:
            self.heard += 1
            self.wake()

    def _note(self) -> None:
        self.changed_at = self._clock.mono() or 1
        self.wake()

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
