"""A repository is put on a broker once, over a connection of its own."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from edged.clock import Clock
from edged.config.schema import Broker
from edged.mqtt.receive import Block
from edged.mqtt.topics import FleetTopics
from edged.publisher.post import Post, make_link, reach
from edged.publisher.publishing import Published, publish
from edged.publisher.renewal import Renewal, renew, warnings_of
from edged.publisher.repository import Repository
from edged.publisher.shelf import Shelf

RENEW_SHARE = 1 / 2
ECHO_S = 5.0
_LOOK_S = 0.02
_SILENT = (
    "the broker did not send the timestamp back to this user. Over MQTT 3.1.1 it cannot say whether it took what was published: "
    "check that this user may write and read the fleet's topics, see `edged fleet acl`"
)


@dataclass(frozen=True)
class Outcome:
    """What was done; `version` is that of MQTT, `warnings` are in words."""

    published: Published
    renewed: bool
    warnings: list[str]
    version: str

    def as_dict(self) -> dict[str, Any]:
        """Give it for programs."""
        done = self.published
        sent = {"published": done.sent, "bytes": done.size, "cleared": done.cleared}
        return {**sent, "renewed": self.renewed, "warnings": self.warnings, "mqtt": self.version}


def publish_once(repository: Repository, broker: Broker, password: str, clock: Clock, rng: random.Random) -> Outcome:
    """Renew what needs it, connect, publish all, disconnect.

    Raises what `renew`, `reach` and `publish` do, and OperatorError(`tls-files`).
    """
    renewal = renew(repository, RENEW_SHARE)
    warnings = warnings_of(repository, renewal)
    topics, shelf = FleetTopics(repository.fleet), Shelf()

    def take(block: Block, _connection: int) -> None:
        for topic, payload in zip(block.topics, block.payloads):
            split = topics.split(topic.decode("utf-8", "replace"))
            if split and split[0] == "_repo":
                shelf.take(split[1], payload)

    link = make_link(broker, password, clock, rng, take)
    link.subscribe(topics.repo("#"), 0)
    link.start()
    try:
        reach(link)
        published = publish(repository, shelf, Post(link).send)
        if link.version == "3.1.1" and not _comes_back(repository, shelf):
            warnings.append(_SILENT)
        return Outcome(published, renewal is Renewal.DONE, warnings, link.version)
    finally:
        link.stop(0.0)


def _comes_back(repository: Repository, shelf: Shelf) -> bool:
    """Say whether the broker sends our timestamp to those that subscribed: we are one of them."""
    ours = repository.layout.timestamp.read_bytes()
    end = time.monotonic() + ECHO_S
    while not shelf.holds(ours):
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK_S)
    return True
