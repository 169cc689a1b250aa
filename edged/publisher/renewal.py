"""Snapshot and timestamp are signed anew before they end: their keys are there for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from edged.errors import OperatorError
from edged.publisher.metadata import SNAPSHOT, TIMESTAMP, Stand
from edged.publisher.repository import Repository


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


def ended(stand: Stand, now: datetime) -> OperatorError | None:
    """Say what of a repository has ended; None where nothing has."""
    over = [role for role in ("root", "targets", "snapshot", "timestamp") if stand.signed(role).expires <= now]
    if not over:
        return None
    how = {"root": "edged fleet rotate DIR root", "targets": "add or remove a release"}
    hints = [how[role] for role in over if role in how] or ["run `edged fleet publish` where the keys of snapshot and timestamp are"]
    return OperatorError("metadata-expired", f"what {', '.join(over)} signed has ended: boards take nothing new", "; ".join(hints))
