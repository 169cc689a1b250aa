"""What a journal's lines say: one struct for each kind of decision. Times are wall time in nanoseconds."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How an update is to be proven: `windows` inferences and `seconds` in service, after `shadow` windows beside the old release."""

    windows: Annotated[int, Meta(ge=0, le=10**9)] = 100
    seconds: Annotated[float, Meta(ge=0, le=1e8)] = 60.0
    shadow: Annotated[int, Meta(ge=0, le=10**6)] = 0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why something did not go on: an error as `EdgedError.as_dict` gives it. An empty code: nothing is wrong."""

    family: str = ""
    code: str = ""
    text: str = ""
    hint: str = ""


class Moved(msgspec.Struct, frozen=True, kw_only=True, tag="moved", omit_defaults=True):
    """An update goes to another state.

    digest    SHA-256 of the release.json, in hex
    input     what a failure depends on: digest, engine builds, profile
    attempt   which try of this input it is, from 1
    kind      install | activate | rollback | push
    """

    at: int
    model: str
    release: int
    version: str = ""
    digest: str
    input: str
    kind: str = "install"
    state: str
    attempt: int = 1
    source: str = ""
    policy: Policy = Policy()
    why: Refusal = Refusal()


class Tried(msgspec.Struct, frozen=True, kw_only=True, tag="tried"):
    """What a trial or a shadow measured of a release."""

    model: str
    release: int
    report: dict[str, Any]


class Restored(msgspec.Struct, frozen=True, kw_only=True, tag="restored"):
    """The last good release serves again, because an update that began after another one's activation came to nothing."""

    at: int
    model: str


class Pinned(msgspec.Struct, frozen=True, kw_only=True, tag="pinned"):
    """A release is kept, or no longer."""

    model: str
    release: int
    on: bool


class Removed(msgspec.Struct, frozen=True, kw_only=True, tag="removed"):
    """A release leaves the store; what is remembered of its failures, too."""

    model: str
    release: int


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="began"):
    """A daemon starts to serve."""

    at: int


class Fell(msgspec.Struct, frozen=True, kw_only=True, tag="fell"):
    """A daemon had ended without a clean stop, as a command found that works without one."""

    at: int


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """A daemon stopped cleanly."""

    at: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An input that failed for good: its release, how it ended (rejected or rolled_back), and why."""

    release: int
    state: str
    at: int
    why: Refusal


class Update(msgspec.Struct, kw_only=True):
    """The newest update of a model; fields as in `Moved`. `since` is when it came to its state, `report` what the trial said."""

    release: int
    version: str
    digest: str
    input: str
    kind: str
    state: str
    attempt: int
    since: int
    source: str
    policy: Policy
    why: Refusal = Refusal()


class Held(msgspec.Struct, kw_only=True):
    """What is held of one model.

    active     the release that serves, since `since`; None: none
    last_good  the release that was proven last; an active one that is not it is unproven
    previous   the good one before it
    highest    the largest release number that ever was in the store, with the digest that it had
    crashes    of the daemon while the active release was unproven
    restarts   of the daemon with the unproven release
    """

    active: int | None = None
    since: int = 0
    last_good: int | None = None
    previous: int | None = None
    pinned: set[int] = msgspec.field(default_factory=set)
    highest: int = 0
    highest_digest: str = ""
    crashes: int = 0
    restarts: int = 0
    update: Update | None = None
    failures: dict[str, Failure] = msgspec.field(default_factory=dict)
    reports: dict[int, dict[str, Any]] = msgspec.field(default_factory=dict)

    @property
    def unproven(self) -> bool:
        """Say whether the active release has still to show that it is good."""
        return self.active is not None and self.active != self.last_good


class Everything(msgspec.Struct, frozen=True, kw_only=True, tag="everything"):
    """All that the entries before it added up to."""

    models: dict[str, Held]
    running: bool


Entry = Moved | Tried | Restored | Pinned | Removed | Began | Fell | Ended | Everything
