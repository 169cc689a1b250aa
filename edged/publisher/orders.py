"""Orders: which release runs where, as desired documents that the director signs."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signer

from edged.atomic import write_atomic
from edged.errors import OperatorError
from edged.exchange.desired import AUDIENCE, MAX_DESIRED_BYTES, MOST_MODELS, PAYLOAD_TYPE, Desired, Order, parse_desired
from edged.exchange.targets import DIRECTOR, parse_target_path, target_path
from edged.models.entries import Policy
from edged.publisher.layout import unwritable
from edged.publisher.metadata import Stand
from edged.publisher.repository import Repository


def assign(
    repository: Repository,
    audience: str,
    releases: Mapping[str, int],
    *,
    policy: Policy | None = None,
    drop: Collection[str] = (),
    days: int = 0,
) -> Desired:
    """Order `releases` (number by model) for `dev:{id}` or `group:{group}`, and write the signed document; other orders stay.

    With nothing named the document is signed anew, for `days` from now on (default: as fleet.toml says). Needs the
    key of the director. Raises what `Repository.signers` and `Layout.locked` do, and OperatorError: `bad-audience`,
    `release-unknown`, `order-unknown`, `desired-too-large`; BoardError(`repository-unwritable`).
    """
    if not re.match(AUDIENCE, audience):
        hint = "names are of a-z, 0-9, - and _, up to 64, and begin with a letter or digit"
        raise OperatorError("bad-audience", f"{audience!r} is neither a device nor a group", hint)
    with repository.layout.locked():
        stand = repository.stand()
        signers = repository.signers(stand, DIRECTOR)
        present = read_desired(repository.layout.desired(audience))
        rev = present.rev + 1 if present else 1
        models = {} if present is None else dict(present.models)
        _drop(models, drop, audience)
        models |= {model: _order(stand, model, release, rev, policy or Policy()) for model, release in releases.items()}
        issued, expires = repository.now(), repository.expiry("desired", days)
        desired = Desired(audience=audience, rev=rev, issued=issued, expires=expires, models=models)
        _write(repository, audience, sign(desired.encode(), signers), len(models))
    return desired


def read_desired(path: Path) -> Desired | None:
    """Read what a document of this repository says; None where there is none. Raises OperatorError(`repository-damaged`)."""
    data = read_envelope(path)
    return None if data is None else _parse(path, data)[1]


def read_envelope(path: Path) -> bytes | None:
    """Read a signed document as it is published; None where there is none. Raises OperatorError(`repository-damaged`)."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_DESIRED_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, error) from None


def read_all(repository: Repository) -> dict[str, Desired]:
    """Give all documents by their audiences. Raises OperatorError(`repository-damaged`)."""
    found = {audience: read_desired(repository.layout.desired(audience)) for audience in repository.layout.audiences()}
    return {audience: desired for audience, desired in found.items() if desired is not None}


def sign(payload: bytes, signers: Iterable[Signer]) -> bytes:
    """Put a payload into an envelope, signed with all `signers`."""
    return _signed(Envelope(payload, PAYLOAD_TYPE, {}), signers)


def sign_again(repository: Repository, keep: Collection[str], signers: Sequence[Signer]) -> list[str]:
    """Add signatures to every document, beside those of the keys in `keep`, with the lock held; give the audiences.

    Raises OSError, OperatorError(`repository-damaged`).
    """
    audiences = repository.layout.audiences()
    for audience in audiences:
        path = repository.layout.desired(audience)
        data = read_envelope(path)
        if data is not None:
            envelope, _ = _parse(path, data)
            envelope.signatures = {keyid: signature for keyid, signature in envelope.signatures.items() if keyid in keep}
            write_atomic(path, _signed(envelope, signers))
    return audiences


def _signed(envelope: Envelope, signers: Iterable[Signer]) -> bytes:
    for signer in signers:
        envelope.sign(signer)
    return msgspec.json.encode(envelope.to_dict())


def _parse(path: Path, data: bytes) -> tuple[Envelope, Desired]:
    try:
        content: dict[str, Any] = json.loads(data)
        envelope = Envelope.from_dict(content)
        return envelope, parse_desired(envelope.payload)
    except Exception as error:  # the envelope's reader raises whatever its parts do
        raise _damaged(path, error) from None


def _damaged(path: Path, why: object) -> OperatorError:
    return OperatorError(
        "repository-damaged",
        f"{path} cannot be used: {why}",
        "bring it back from a backup: boards take no revision that is lower than one before",
    )


def _drop(models: dict[str, Order], drop: Collection[str], audience: str) -> None:
    for model in drop:
        if models.pop(model, None) is None:
            there = ", ".join(models) or "none"
            raise OperatorError("order-unknown", f"{audience} has no order for {model}", f"its orders: {there}")


def _order(stand: Stand, model: str, release: int, rev: int, policy: Policy) -> Order:
    targets = stand.targets.signed.targets
    target = targets.get(target_path(model, release))
    if target is None:
        raise unknown_release(model, release, targets)
    return Order(release=release, sha256=target.hashes["sha256"], asked=rev, policy=policy)


def releases_of(paths: Iterable[str]) -> dict[str, list[int]]:
    """Give the releases by their models, both sorted, of the paths of targets."""
    found: dict[str, list[int]] = {}
    for model, release in sorted(filter(None, map(parse_target_path, paths))):
        found.setdefault(model, []).append(release)
    return found


def unknown_release(model: str, release: int, paths: Iterable[str]) -> OperatorError:
    """Say that a release is not there, and which are, by the paths of targets."""
    there = releases_of(paths)
    if model in there:
        hint = f"releases of {model}: {', '.join(map(str, there[model]))}"
    else:
        hint = f"models: {', '.join(there)}" if there else "there are none; bring one in: edged fleet add DIR RELEASE"
    return OperatorError("release-unknown", f"the repository has no release {release} of {model}", hint)


def _write(repository: Repository, audience: str, data: bytes, models: int) -> None:
    if len(data) > MAX_DESIRED_BYTES or models > MOST_MODELS:
        text = f"the orders to {audience} would be {models} models in {len(data) >> 10} KiB"
        hint = f"boards take {MOST_MODELS} models in {MAX_DESIRED_BYTES >> 10} KiB; --drop MODEL takes one out"
        raise OperatorError("desired-too-large", text, hint)
    try:
        write_atomic(repository.layout.desired(audience), data)
    except OSError as error:
        raise unwritable(repository.layout.folder, error) from error
