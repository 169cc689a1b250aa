"""May it be tried? What somebody asks for, held against the ledger. Pure; the errors are the answer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from edged.errors import EdgedError, OperatorError, PublisherError, error_of
from edged.fleet.machine import ACTIVATE, EVALUATE, EXITS
from edged.models.entries import Failure, Held, Moved, Policy
from edged.models.store import Candidate

INSTALL, ACTIVATION, ROLLBACK, PUSH = "install", "activate", "rollback", "push"


def input_of(digest: str, around: str) -> str:
    """Name what a failure is final for: the release and what is `around` it on this board."""
    return hashlib.sha256(f"{digest}\n{around}".encode()).hexdigest()


def asked(kind: str, candidate: Candidate, held: Held, *, source: str, policy: Policy, around: str, stored: bool, at: int) -> Moved:
    """Give the first entry of an update; `stored` says whether all of this very release is in the store.

    A push may be of what is in the store: then it brings it into service.

    Raises PublisherError(`release-not-rising`), OperatorError(`release-stored`), and what
    the same input failed with before.
    """
    packed = candidate.packed
    key = input_of(candidate.digest, around)
    if kind != ROLLBACK and key in held.failures:
        raise failed_before(packed.name, held.failures[key])
    if kind in (INSTALL, PUSH):
        _check_number(candidate, held, stored and kind == INSTALL)
    return Moved(
        at=at,
        model=packed.name,
        release=packed.release,
        version=packed.version,
        digest=candidate.digest,
        input=key,
        kind=kind,
        state=ACTIVATE if kind == ROLLBACK else EVALUATE,
        source=source,
        policy=policy,
    )


def target_of_rollback(model: str, held: Held) -> int:
    """Give the release to go back to. Raises OperatorError(`nothing-to-roll-back`)."""
    target = held.last_good if held.unproven else held.previous
    if target is None:
        text = f"there is no earlier good release of {model} on this board"
        raise OperatorError(
            "nothing-to-roll-back", text, f"`edged models list` shows what there is; `edged models activate {model} RELEASE` tries one"
        )
    return target


def check_removable(model: str, release: int, held: Held, asked: Collection[int]) -> None:
    """Raise OperatorError where a release must stay; `asked` are those of updates here, also of those that wait for their turn."""
    update = held.update
    reasons = (
        (release == held.active, "release-active", "serves", "activate another one first"),
        (release == held.last_good, "release-last-good", "is the last good one", "commit another one first"),
        (release in held.pinned, "release-pinned", "is pinned", f"`edged models pin {model} {release} --off`"),
        (
            release in asked or (update is not None and update.release == release and update.state not in EXITS),
            "release-staged",
            "is on its way",
            f"`edged models cancel {model}`",
        ),
    )
    for holds, code, text, hint in reasons:
        if holds:
            raise OperatorError(code, f"{model} {release} {text}", hint)


def failed_before(model: str, failure: Failure) -> EdgedError:
    """Give the error of a release that failed for good."""
    why, how = failure.why, failure.state.replace("_", " ")
    what = why.text.removeprefix(f"{model} {failure.release}: ")
    text = f"{model} {failure.release} was {how} before, and nothing has changed since: {what}"
    hint = f"{why.hint + '; ' if why.hint else ''}`edged models remove {model} {failure.release}` forgets it"
    return error_of(why.family, why.code, text, hint)


def _check_number(candidate: Candidate, held: Held, stored: bool) -> None:
    name, release = candidate.packed.name, candidate.packed.release
    again = release == held.highest and candidate.digest == held.highest_digest  # such as one that was cancelled
    if release > held.highest or (again and not stored):
        return
    if not stored:
        had = f"{release} with another content" if release == held.highest else f"{held.highest}"
        text = f"{name} {release} is not newer than what this board has had: {had}; release numbers only rise"
        raise PublisherError("release-not-rising", text, f"give it a release number above {held.highest}, and pack it again")
    raise OperatorError("release-stored", f"{name} {release} is in the store already", f"`edged models activate {name} {release}`")
