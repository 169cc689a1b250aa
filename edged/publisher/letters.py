"""What a repository has to say on a broker: retained messages, in the order in which boards may see them."""

from __future__ import annotations

from dataclasses import dataclass

from edged.errors import OperatorError
from edged.exchange.targets import file_name
from edged.mqtt.topics import DeviceTopics, FleetTopics
from edged.publisher.metadata import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Stand
from edged.publisher.orders import read_envelope
from edged.publisher.repository import Repository


@dataclass(frozen=True)
class Letter:
    """One retained message; `name` for people. An empty payload clears what the broker holds."""

    name: str
    topic: str
    payload: bytes


def roots(repository: Repository, stand: Stand) -> list[Letter]:
    """Give the chain of roots, from the first on. Raises OperatorError(`repository-damaged`)."""
    return [_metadata(repository, f"{ROOT}/{version}") for version in range(1, stand.root.signed.version + 1)]


def metadata(repository: Repository, stand: Stand) -> list[Letter]:
    """Give targets, snapshot and, last, timestamp, which leads to them. Raises OperatorError(`repository-damaged`)."""
    names = [f"{TARGETS}/{stand.targets.signed.version}", f"{SNAPSHOT}/{stand.snapshot.signed.version}", TIMESTAMP]
    return [_metadata(repository, name) for name in names]


def desired(repository: Repository, audience: str) -> Letter | None:
    """Give the orders to an audience; None where there are none. Raises OperatorError(`repository-damaged`)."""
    data = read_envelope(repository.layout.desired(audience))
    return None if data is None else Letter(f"orders to {audience}", topic_of(repository.fleet, audience), data)


def topic_of(fleet: str, audience: str) -> str:
    """Say where the orders to `dev:{id}` or `group:{group}` are published."""
    kind, _, name = audience.partition(":")
    return DeviceTopics(fleet, name).desired if kind == "dev" else FleetTopics(fleet).group_desired(name)


def clearing(fleet: str, name: str) -> Letter:
    """Have the broker forget metadata called `targets/3`."""
    return Letter(f"old {name}", FleetTopics(fleet).repo(name), b"")


def _metadata(repository: Repository, name: str) -> Letter:
    path = repository.layout.metadata / file_name(name)
    try:
        return Letter(name, FleetTopics(repository.fleet).repo(name), path.read_bytes())
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}"
        raise OperatorError("repository-damaged", text, "bring the folder back from a backup") from None
