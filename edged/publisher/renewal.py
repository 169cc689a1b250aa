"""Snapshot and timestamp are signed anew before they end: their keys are there for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from edged.publisher.metadata import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Stand
from edged.publisher.repository import Repository

SOON = timedelta(days=14)


class Renewal(Enum):
    """What came of it: it was not needed, it was done, or keys are missing."""

    NOT_NEEDED = "not-needed"
    DONE = "done"
    NO_KEYS = "no-keys"


def renew(repository: Repository, share: float) -> Renewal:
    """Sign snapshot and timestamp anew where less than `share` of the life of one is left.

    Raises what `Repository.commit` and `Layout.locked` do.
    """
    if not _is_due(repository, repository.stand(), share):
        return Renewal.NOT_NEEDED
    with repository.layout.locked():
        stand = repository.stand()
        if not _is_due(repository, stand, share):
            return Renewal.NOT_NEEDED
        if not all(repository.can_sign(stand, role) for role in (SNAPSHOT, TIMESTAMP)):
            return Renewal.NO_KEYS
        repository.commit(stand)
    return Renewal.DONE


def ends(stand: Stand) -> datetime:
    """Say when boards stop to take anything new: the earliest end of a role."""
    return min(signed.signed.expires for signed in (stand.root, stand.targets, stand.snapshot, stand.timestamp))


def _is_due(repository: Repository, stand: Stand, share: float) -> bool:
    now, days = repository.now(), repository.terms.days
    lives = ((stand.snapshot.signed, days.snapshot), (stand.timestamp.signed, days.timestamp))
    return any(signed.expires - now < share * timedelta(days=life) for signed, life in lives)


def warnings_of(repository: Repository, renewal: Renewal) -> list[str]:
    """Say in words what of a repository has ended or ends within SOON, and is not renewed by itself."""
    stand, now = repository.stand(), repository.now()
    found = [ending(role, stand.signed(role).expires, now) for role in (ROOT, TARGETS)]
    if renewal is Renewal.NO_KEYS:
        found.append(f"the keys of snapshot and timestamp are not here; boards take nothing new from {ends(stand):%Y-%m-%d %H:%M} UTC on")
    return [*filter(None, found)]


def ending(role: str, expires: datetime, now: datetime) -> str:
    """Say that what a role signed has ended or ends within SOON, and what renews it; nothing where it does not."""
    if expires - now >= SOON:
        return ""
    how = {ROOT: "renew it: edged fleet rotate DIR root", TARGETS: "renew it: add a release, or edged fleet rotate DIR targets"}
    return f"what {role} signed {when(expires, now)}; {how.get(role, '`edged fleet publish` and `serve` renew it')}"


def when(end: datetime, now: datetime) -> str:
    """Say when something ends or ended."""
    return f"{'ended' if end <= now else 'ends'} on {end:%Y-%m-%d %H:%M} UTC"
