"""The running daemon as the commands' board: it is asked over its control socket, and gets open files, not paths."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edged.cli.models.board import Asked
from edged.cli.settings import DaemonAt
from edged.service.snapshot import Snapshot, UpdateStatus, read

if TYPE_CHECKING:
    from edged.models.entries import Policy


class RunningDaemon:
    """See `Board`."""

    has_daemon = True

    def __init__(self, at: DaemonAt) -> None:
        self._at = at

    def install(self, path: Path, policy: Policy) -> Asked:
        """Open its files here, with the rights of this user, and hand them over."""
        from edged.cli.models.handover import open_release

        with open_release(path) as (names, files):
            return self._begin("install", {"source": str(path), "names": names, "policy": _plain(policy)}, files)

    def activate(self, model: str, release: int, policy: Policy) -> Asked:
        """Ask for it."""
        return self._begin("activate", {"model": model, "release": release, "policy": _plain(policy)})

    def rollback(self, model: str) -> Asked:
        """Ask for it."""
        return self._begin("rollback", {"model": model})

    def cancel(self, model: str) -> None:
        """Ask for it."""
        self._at.ask("cancel", {"model": model})

    def remove(self, model: str, release: int) -> None:
        """Ask for it."""
        self._at.ask("remove", {"model": model, "release": release})

    def pin(self, model: str, release: int, on: bool) -> None:
        """Ask for it."""
        self._at.ask("pin", {"model": model, "release": release, "on": on})

    def update(self, model: str) -> UpdateStatus | None:
        """Find it in the status."""
        return next((each for each in self._status().updates if each.model == model), None)

    def serving(self, model: str) -> set[int]:
        """Look at the pipelines in the status."""
        return {each.release for each in self._status().pipelines if each.model == model and each.variant and not each.in_place}

    def close(self) -> None:
        """Nothing is kept open."""

    def _status(self) -> Snapshot:
        return read(self._at.ask("status"))

    def _begin(self, op: str, args: dict[str, Any], files: list[int] | None = None) -> Asked:
        at = time.monotonic()
        answer = self._at.ask(op, args, files or [])
        serves = answer.get("state") in ("confirm", "committed")
        return Asked(str(answer.get("model", "")), int(answer.get("release", 0)), at, serves)


def _plain(policy: Policy) -> dict[str, Any]:
    return dict(msgspec.to_builtins(policy))
