"""The control path in this process, where no daemon runs: an update goes as far as it can without one."""

from __future__ import annotations

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from edged.cli.models.board import Asked
from edged.cli.models.handover import open_release
from edged.cli.models.ownership import become_owner_of, check_reach
from edged.cli.models.reading import Place
from edged.clock import SystemClock
from edged.fleet.agent import Agent
from edged.fleet.machine import EVALUATE
from edged.models.book import Book
from edged.models.claim import Claim
from edged.models.entries import Policy
from edged.models.source import FilesSource, PackSource
from edged.models.store import Store
from edged.service.ports import LonePorts
from edged.service.selection import selection_of
from edged.service.snapshot import UpdateStatus
from edged.service.update_status import update_status

_PAUSE_S = 0.2


class Alone:
    """See `Board`. A thread works, so that the one that waits can be interrupted.

    The store is taken with the first thing to do: as root, this process then becomes its owner,
    and could perhaps no longer read what it is to install.
    """

    has_daemon = False

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = SystemClock()
        self._store = Store(place.state_dir)
        self._claim: Claim | None = None
        self._book: Book | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    @cached_property
    def _agent(self) -> Agent:
        """Take the store; raises BoardError(`store-busy`, `store-unwritable`), OperatorError(`edged-out-of-reach`)."""
        place = self._place
        become_owner_of(place.state_dir)
        check_reach()
        self._claim = self._store.claim()
        self._book = Book(place.state_dir)
        selection = selection_of(place.state_dir, place.profile, place.budget_mib)
        ports = LonePorts(self._store, self._clock, selection)
        agent = Agent(self._store, self._book, ports, self._clock)
        agent.updates.stand_in()
        return agent

    def install(self, path: Path, policy: Policy) -> Asked:
        """Take it from its place."""
        with open_release(path) as (names, opened):
            files: list[BinaryIO] = [os.fdopen(os.dup(each), "rb") for each in opened]
        source = FilesSource(dict(zip(names, files, strict=True)), str(path)) if names else PackSource(files[0], str(path))
        try:
            agent = self._agent
        except BaseException:
            source.close()
            raise
        asked_for = agent.install(source, policy)
        serves = asked_for.state != EVALUATE
        return self._begin(Asked(asked_for.model, asked_for.release, serves=serves))

    def activate(self, model: str, release: int, policy: Policy) -> Asked:
        """Begin with its trial."""
        self._agent.activate(model, release, policy)
        return self._begin(Asked(model, release))

    def rollback(self, model: str) -> Asked:
        """Change what the next start serves."""
        return self._begin(Asked(model, self._agent.rollback(model)))

    def cancel(self, model: str) -> None:
        """End what this process works on, or what a daemon left in service and unproven."""
        updates = self._agent.updates
        self._agent.cancel(model)
        while self._thread.ident is None and any(job.stop for job in updates.jobs()):
            updates.step()

    def remove(self, model: str, release: int) -> None:
        """Remove it."""
        self._agent.remove(model, release)

    def pin(self, model: str, release: int, on: bool) -> None:
        """Note it."""
        self._agent.pin(model, release, on)

    def update(self, model: str) -> UpdateStatus | None:
        """Look at the work, and into the journal."""
        job = next((each for each in reversed(self._agent.updates.jobs()) if each.model == model), None)
        assert self._book is not None
        return update_status(model, self._book.of(model), job, self._clock)

    def serving(self, model: str) -> set[int]:
        """Give none."""
        return set()

    def close(self) -> None:
        """Stop working, and let the store go. What is not done yet is decided at the daemon's next start."""
        self._ending = True
        if self._thread.ident is not None:
            self._agent.updates.interrupt()
            self._thread.join()
        if "_agent" in self.__dict__:
            for job in self._agent.updates.jobs():
                job.close()
        if self._book is not None:
            self._book.close()
        if self._claim is not None:
            self._claim.release()

    def _begin(self, asked: Asked) -> Asked:
        self._thread.start()
        return asked

    def _run(self) -> None:
        updates = self._agent.updates
        while not self._ending:
            if updates.step():
                updates.changed.wait(_PAUSE_S)
