"""What is in a repository, as `edged fleet list` shows it: releases, orders, keys, versions, what ends soon."""

from __future__ import annotations

from datetime import datetime

import msgspec

from edged.exchange.desired import Desired
from edged.publisher.metadata import ROLES, Stand
from edged.publisher.orders import read_all
from edged.publisher.removal import releases
from edged.publisher.renewal import SOON, ending, when
from edged.publisher.repository import Repository


class RoleEntry(msgspec.Struct):
    """A role: how many of which keys sign for it, where their files are (empty: not here), and until when what it signed holds.

    The director signs orders, each of which has its own end.
    """

    role: str
    version: int
    expires: datetime | None
    threshold: int
    keys: dict[str, str]


class ReleaseEntry(msgspec.Struct):
    """A release: its number, the label for people, the SHA-256 of its release.json, bytes of its files, who has orders for it."""

    model: str
    release: int
    version: str
    digest: str
    size: int
    ordered_by: list[str]


class OrdersEntry(msgspec.Struct):
    """The orders to one audience: releases by model."""

    audience: str
    rev: int
    expires: datetime
    models: dict[str, int]


class Inventory(msgspec.Struct):
    """All of it; `warnings` is what ends within SOON, or what orders name and the repository has not."""

    fleet: str
    roles: list[RoleEntry]
    releases: list[ReleaseEntry]
    orders: list[OrdersEntry]
    warnings: list[str]


def inventory(repository: Repository) -> Inventory:
    """Look at a repository. Raises OperatorError(`repository-damaged`)."""
    stand = repository.stand()
    documents = read_all(repository)
    found = [
        ReleaseEntry(
            model,
            release,
            packed.version,
            target.hashes["sha256"],
            sum(seal.size for seal in packed.files.values()),
            _who(documents, model, release),
        )
        for model, release, target, packed in releases(repository, stand)
    ]
    orders = [
        OrdersEntry(audience, each.rev, each.expires, {model: order.release for model, order in each.models.items()})
        for audience, each in documents.items()
    ]
    roles = [_role(repository, stand, role) for role in ROLES]
    return Inventory(repository.fleet, roles, found, orders, [*_ending(repository.now(), roles, orders), *_lost(found, orders)])


def _role(repository: Repository, stand: Stand, role: str) -> RoleEntry:
    keyids, threshold = stand.keys_of(role)
    keys = {keyid: str(repository.keyring.find(role, keyid) or "") for keyid in keyids}
    if role not in ("root", "targets", "snapshot", "timestamp"):
        return RoleEntry(role, 0, None, threshold, keys)
    signed = stand.signed(role)
    return RoleEntry(role, signed.version, signed.expires, threshold, keys)


def _who(documents: dict[str, Desired], model: str, release: int) -> list[str]:
    return [audience for audience, desired in documents.items() if model in desired.models and desired.models[model].release == release]


def _ending(now: datetime, roles: list[RoleEntry], orders: list[OrdersEntry]) -> list[str]:
    found = [text for role in roles if role.expires is not None and (text := ending(role.role, role.expires, now))]
    for each in orders:
        if each.expires - now < SOON:
            audience = each.audience.replace("dev:", "--device ").replace("group:", "--group ")
            found.append(
                f"what director signed for {each.audience} {when(each.expires, now)}; sign it anew: edged fleet assign DIR {audience}"
            )
    return found


def _lost(found: list[ReleaseEntry], orders: list[OrdersEntry]) -> list[str]:
    there = {(each.model, each.release) for each in found}
    return [
        f"{each.audience} has orders for {model} {release}, which is not in the repository: boards refuse it"
        for each in orders
        for model, release in each.models.items()
        if (model, release) not in there
    ]
