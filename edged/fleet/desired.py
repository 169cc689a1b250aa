"""May a desired document be believed? Bytes of an envelope in, orders or the reason why not out; no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

import msgspec

from edged.clock import NS
from edged.errors import EdgedError, Untrusted
from edged.exchange.desired import MAX_DESIRED_BYTES, PAYLOAD_TYPE, Desired, Order, parse_desired
from edged.fleet.floor import Revision
from edged.fleet.trust import Director

_MOST_SIGNATURES = 16  # each takes a board tens of milliseconds to verify without a native library
_AGAIN = "the fleet manager must give it again: `edged fleet assign DIR …`, then `edged fleet publish DIR`"


@dataclass(frozen=True)
class Wanted:
    """An order, and the audience whose document gave it."""

    model: str
    order: Order
    audience: str

    @property
    def salt(self) -> str:
        """Name what, beside the release, makes it this order and not one before."""
        return f"{self.audience} {self.order.asked}"

    @property
    def key(self) -> str:
        """Name the order."""
        return hashlib.sha256(f"{self.order.sha256}\n{self.salt}".encode()).hexdigest()


def accept(envelope: bytes, audience: str, director: Director, seen: Revision, now: datetime) -> tuple[Desired, Revision]:
    """Give what an envelope orders for `audience`, and the revision that was seen with it.

    `seen` is the highest so far. Raises Untrusted: `desired-malformed`, `desired-unsigned`, `desired-for-another`,
    `desired-rollback`, `desired-expired`. The document that was seen last is accepted again.
    """
    payload = _verified(envelope, director)
    try:
        desired = parse_desired(payload)
    except ValueError as error:
        raise _malformed(str(error)) from None
    if desired.audience != audience:
        text = f"a document for {desired.audience} lies where those for {audience} belong"
        raise Untrusted("desired-for-another", text, "somebody plays documents of other boards: look at who may write there")
    sha256 = hashlib.sha256(payload).hexdigest()
    if seen.keys == director.fingerprint and (desired.rev < seen.rev or (desired.rev == seen.rev and sha256 != seen.sha256)):
        other = ", of other content," if desired.rev == seen.rev else ""
        text = f"the document for {audience} is revision {desired.rev}{other} and this board has seen {seen.rev}"
        raise Untrusted("desired-rollback", text, _AGAIN)
    if desired.expires <= now:
        text = f"the document for {audience}, revision {desired.rev}, expired on {desired.expires:%Y-%m-%d %H:%M} UTC"
        raise Untrusted("desired-expired", text, f"is this board's clock right? if it is, {_AGAIN}")
    return desired, Revision(desired.rev, sha256, director.fingerprint, int(desired.expires.timestamp()))


def _verified(envelope: bytes, director: Director) -> bytes:
    """Give the payload of an envelope that the director signed."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    if len(envelope) > MAX_DESIRED_BYTES:
        raise _malformed(f"it is longer than {MAX_DESIRED_BYTES >> 10} KiB")
    try:
        parts = msgspec.json.decode(envelope)
        if len(parts["signatures"]) > _MOST_SIGNATURES:
            raise ValueError("too many signatures")
        read = Envelope.from_dict(parts)
        payload, payload_type = bytes(read.payload), str(read.payload_type)
    except Exception as error:  # the library raises whatever comes of what it did not expect
        raise _malformed(str(error)) from None
    try:
        read.verify(list(director.keys), director.threshold)
    except (VerificationError, ValueError) as error:
        text = f"it is not signed by the director that the repository names: {str(error)[:200]}"
        raise Untrusted("desired-unsigned", f"a desired document was refused: {text}", _AGAIN) from None
    if payload_type != PAYLOAD_TYPE:
        raise _malformed(f"it is of type {payload_type[:64]!r}")
    return payload


def _malformed(why: str) -> EdgedError:
    return Untrusted("desired-malformed", f"a desired document is none: {why[:200]}", _AGAIN)


def merge(device: Desired | None, groups: Iterable[Desired]) -> Mapping[str, Wanted]:
    """Give one order a model: the device's own before those of its groups, which come in the order of the configuration."""
    wanted: dict[str, Wanted] = {}
    for document in ([device] if device is not None else []) + list(groups):
        for model, order in document.models.items():
            wanted.setdefault(model, Wanted(model, order, document.audience))
    return wanted


def moment(ns: int) -> datetime:
    """Give nanoseconds since 1970 as a time that documents are compared with."""
    return datetime.fromtimestamp(min(max(ns // NS, 0), 253402300799), timezone.utc)
