"""Judge releases in service: has one shown that it is good, and would a daemon start with it."""

from __future__ import annotations

from collections.abc import Iterable

from edged.clock import NS, Clock
from edged.errors import Cancelled, EdgedError
from edged.fleet import machine
from edged.fleet.confirm import judge
from edged.fleet.job import Job
from edged.fleet.outcome import MOST_RETRY_S
from edged.fleet.ports import Cancelled as Asked
from edged.fleet.ports import Ports
from edged.fleet.requests import ROLLBACK
from edged.models.book import Book
from edged.models.entries import Refusal

LOOK_S = 0.5  # how often a release in service is judged


class Watching:
    """The judge of one board's releases in service."""

    def __init__(self, book: Book, ports: Ports, clock: Clock) -> None:
        self._book, self._ports, self._clock = book, ports, clock
        self._next_look = 0

    def judge(self, job: Job, cancelled: Asked) -> tuple[str, Refusal | None]:
        """Give the event for an update whose release serves, and why; an empty one where it is watched on: its progress says for what."""
        if job.moved.kind == ROLLBACK:  # it was proven before
            return machine.DONE, None
        seen = self._ports.watched(job.model)
        judgement = judge(seen, job.moved.policy)
        progress = job.progress
        progress.windows, progress.seconds, progress.waits_for = seen.windows, seen.seconds, judgement.waits_for
        if judgement.why:
            return machine.REFUSED, judgement.why
        return ("", None) if judgement.waits_for else self._start(job, cancelled)

    def calls(self, jobs: Iterable[Job], *, proven: bool) -> bool:
        """Say whether a release in service must go, which does not wait until another one's trial is over; or, with `proven`, may stay.

        Looks every LOOK_S only.
        """
        now = self._clock.mono()
        if now < self._next_look:
            return False
        self._next_look = now + int(LOOK_S * NS)
        watched = [job for job in jobs if job.state == machine.CONFIRM]
        judged = [(job, judge(self._ports.watched(job.model), job.moved.policy)) for job in watched]
        return any(each.why or (proven and not each.waits_for and now >= job.progress.retry_at) for job, each in judged)

    def _start(self, job: Job, cancelled: Asked) -> tuple[str, Refusal | None]:
        """See whether a daemon starts with this release: because one did, or because a rehearsal does."""
        if self._book.of(job.model).restarts:
            return machine.DONE, None
        job.progress.waits_for = "the rehearsal of a start"
        if self._clock.mono() < job.progress.retry_at:
            return "", None
        try:
            self._ports.rehearse(cancelled)
        except Cancelled:
            return "", None
        except EdgedError as error:
            if error.code not in machine.BLOCKING | {"rehearsal-no-start"}:
                return machine.REFUSED, Refusal(**error.as_dict())
            job.wait(self._clock, f"a restart of the daemon, or memory to rehearse one: {error.text}", MOST_RETRY_S)
            return "", None
        return machine.DONE, None
