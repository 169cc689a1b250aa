"""Whom the commands speak to: the running daemon, or the control path in this process where there is none."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edged.service.snapshot import UpdateStatus

if TYPE_CHECKING:
    from edged.models.entries import Policy


@dataclass(frozen=True)
class Asked:
    """An update that was taken.

    `at` is the monotonic time before it was asked for, in seconds; `serves` that its release serves already.
    """

    model: str
    release: int
    at: float = field(default_factory=time.monotonic)
    serves: bool = False

    def is_it(self, update: UpdateStatus) -> bool:
        """Say whether `update` is this one, and not one of the same release that ended before."""
        from edged.cli.updates import ENDS

        if update.release != self.release:
            return False
        return update.state not in ENDS or (update.since_s or 0.0) <= time.monotonic() - self.at


class Board(Protocol):
    """All raise the EdgedError of what is refused. `has_daemon` says whether pipelines run."""

    has_daemon: bool

    def install(self, path: Path, policy: Policy) -> Asked:
        """Hand a release over."""

    def activate(self, model: str, release: int, policy: Policy) -> Asked:
        """Bring a release of the store into service."""

    def rollback(self, model: str) -> Asked:
        """Go back; gives the release that will serve."""

    def cancel(self, model: str) -> None:
        """End the update of a model."""

    def remove(self, model: str, release: int) -> None:
        """Take a release out of the store."""

    def pin(self, model: str, release: int, on: bool) -> None:
        """Keep a release, or no longer."""

    def update(self, model: str) -> UpdateStatus | None:
        """Say how the newest update of a model stands."""

    def serving(self, model: str) -> set[int]:
        """Give the releases that pipelines run of a model of the store."""

    def close(self) -> None:
        """Let go of it."""


def open_board(config: str | None, socket: str | None, state_dir: str | None) -> Board:
    """Reach the daemon that is meant; this process stands in where none runs, or `state_dir` names a folder.

    A daemon that is stuck or not for this user is an error: it has the store.
    """
    from edged.cli.models.daemon import RunningDaemon
    from edged.cli.settings import daemon_at
    from edged.service.ask import NobodyListens

    if state_dir is None:
        at = daemon_at(config, socket)
        try:
            at.ask("status")
            return RunningDaemon(at)
        except NobodyListens:
            if socket:
                raise
    from edged.cli.models.alone import Alone
    from edged.cli.models.reading import place

    return Alone(place(config, state_dir))
