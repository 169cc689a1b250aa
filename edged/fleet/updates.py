"""Bring one update after the other through the machine.

Updates may be asked for by any thread. `step` is called by one thread and does one thing at a time:
back to a good release first, then the next stage of an update, then a look at those in service.
Each transition is in the journal before anything is done about it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from edged.clock import NS, Clock
from edged.errors import BugError, Cancelled, EdgedError
from edged.fleet import machine
from edged.fleet.confirm import judge
from edged.fleet.job import Job, Progress
from edged.fleet.outcome import MOST_RETRY_S, RETRY_S, outcome
from edged.fleet.ports import Ports
from edged.fleet.recovery import is_abandoned, keep_unnamed, recover, still_watched
from edged.fleet.requests import ROLLBACK
from edged.fleet.stages import Stages
from edged.models.book import Book
from edged.models.entries import Ended, Fell, Moved, Refusal, Restored
from edged.models.store import Store

LOOK_S = 0.5  # how often a release in service is judged


class Updates:
    """The updates of one board. `stale`: models whose pipelines have yet to go back to the active release, with what went wrong."""

    def __init__(self, store: Store, book: Book, ports: Ports, clock: Clock) -> None:
        """The store's claim is held."""
        self.store, self.book, self.ports, self.clock = store, book, ports, clock
        self.stale: dict[str, str] = {}
        self.changed = threading.Event()
        self._stages = Stages(store, book, ports, self._collect)
        self._lock = threading.RLock()
        self._asked: dict[str, Job] = {}  # by model; what the working thread has not taken up yet
        self._jobs: list[Job] = []
        self._working: Job | None = None
        self._urgent = False  # somebody wants a good release back: what is worked on gives way
        self._retry_stale = 0
        self._retry_journal = 0
        self._next_look = 0
        self._ending = False

    def begin(self) -> None:
        """Note that a daemon starts, and decide on what the last one left under way. Raises BoardError(`store-unwritable`)."""
        self._jobs += recover(self.book, self.store, self.clock)
        with suppress(EdgedError):  # only what is not needed stays
            keep_unnamed(self.book, self.store)
            self._collect()

    def stand_in(self) -> None:
        """Begin in place of a daemon that does not run; one that crashed is noted. Raises BoardError(`store-unwritable`)."""
        if self.book.ledger.running:
            self.book.note(Fell(at=self.clock.wall()))
        self._jobs += still_watched(self.book, self.store, self.clock)

    def end(self, working: bool = False) -> None:
        """Note a clean stop; `working`: `step` has not returned yet, though it was interrupted. Raises BoardError(`store-unwritable`)."""
        for job in [] if working else [*self._jobs, *self._asked.values()]:
            job.close()
        self.book.note(Ended(at=self.clock.wall()))

    def interrupt(self) -> None:
        """Let `step` return soon; what it works on goes on at the next start."""
        self._ending = True
        self.changed.set()

    def ask(self, job: Job) -> None:
        """Take an update, in place of one of the same model that is under way."""
        with self._lock:
            before = self._asked.pop(job.model, None)
            if before is not None:
                before.close()
            for each in self._jobs:
                if each.model == job.model and each.stop != machine.CANCELLED:  # who cancelled it was promised its end
                    each.stop, each.stopped_by = machine.REPLACED, Refusal()
            self._asked[job.model] = job
            self._urgent = self._urgent or job.moved.kind == ROLLBACK
        self.changed.set()

    def stop_update(self, model: str, why: Refusal) -> bool:
        """End the update of a model, wherever it is; False where there is none."""
        with self._lock:
            asked = self._asked.pop(model, None)
            if asked is not None:
                asked.close()
            found = [job for job in self._jobs if job.model == model]
            for job in found:
                job.stop, job.stopped_by = machine.CANCELLED, why
                self._urgent = self._urgent or job is not self._working  # what is worked on gives way, so that this one ends soon
            if asked is not None and not found and is_abandoned(self.book.of(model)):
                self.stale[model] = ""
        self.changed.set()
        return bool(asked or found)

    def jobs(self) -> list[Job]:
        """Give the updates under way and those that wait for their turn."""
        with self._lock:
            return [*self._jobs, *self._asked.values()]

    @contextmanager
    def at_rest(self) -> Iterator[bool]:
        """Say whether no update has files in the store that no release names yet; so it stays while this is held."""
        with self._lock:
            yield not any(job.state in (machine.FETCH, machine.VERIFY) for job in self._jobs)

    def step(self) -> float:
        """Do the next thing; give the seconds until there may be another. Raises nothing but bugs."""
        self.changed.clear()
        if self._ending:
            return 0.0
        if self.stale and self.clock.mono() >= self._retry_stale:
            self._go_back()
        if self.clock.mono() < self._retry_journal:
            return LOOK_S
        self._take_up()
        ready = [job for job in self._jobs if job.is_ready(self.clock)]
        first = next((job for job in ready if job.stop or job.moved.kind == ROLLBACK), None)
        if first is None:
            for job in sorted((job for job in self._jobs if job.state == machine.CONFIRM), key=lambda job: not job.stop):
                self._confirm(job)
        if not ready:
            return LOOK_S
        self._advance(first or min(ready, key=lambda job: job.moved.why.code == machine.GAVE_WAY))
        return 0.0

    def _take_up(self) -> None:
        """Begin with what was asked for, as soon as the update before it has ended."""
        with self._lock:
            self._urgent = False
            busy = {job.model for job in self._jobs}
            for job in [job for model, job in self._asked.items() if model not in busy]:
                if self._note(job, job.moved):
                    del self._asked[job.model]
                    # A rollback goes before all others.
                    self._jobs.insert(0 if job.moved.kind == ROLLBACK else len(self._jobs), job)

    def _advance(self, job: Job) -> None:
        """Work on an update's state, and move it on."""
        if job.stop and (job.state, job.stop) in machine.TABLE:
            self._move(job, job.stop, job.stopped_by)
        elif job.state == machine.WAIT:
            self._move(job, machine.DONE, attempt=job.moved.attempt + job.counts)
        else:
            self._work(job)

    def _work(self, job: Job) -> None:
        job.progress = Progress(since=self.clock.mono())
        self._working = job
        try:
            self._stages.work(job, lambda: self._gives_way(job))
        except Cancelled:
            if (job.state, job.stop) in machine.TABLE:
                self._move(job, job.stop, job.stopped_by)
            elif not self._ending:
                self._give_way(job)
        except EdgedError as error:
            self._fail(job, error)
        except Exception as error:
            self._fail(job, BugError.of("update-bug", error))
        else:
            self._move(job, machine.DONE)
        finally:
            self._working = None

    def _gives_way(self, job: Job) -> bool:
        """Say whether what is done for an update should stop now."""
        if job.state == machine.ACTIVATE:  # short; and back leads over the last good release
            return self._ending or job.stop == machine.CANCELLED
        waits = job.progress.shadow and bool(self._asked)  # for readings, perhaps for days: a newcomer goes first
        return self._ending or bool(job.stop) or self._urgent or waits or self._one_fails()

    def _one_fails(self) -> bool:
        """Say whether a release in service must go: it does not wait until another one's trial is over."""
        now = self.clock.mono()
        if now < self._next_look:
            return False
        self._next_look = now + int(LOOK_S * NS)
        watched = [job for job in self._jobs if job.state == machine.CONFIRM and job is not self._working]
        return any(judge(self.ports.watched(job.model), job.moved.policy).why for job in watched)

    def _fail(self, job: Job, error: EdgedError) -> None:
        why = Refusal(**error.as_dict())
        event, seconds = outcome(error, job.state, job.moved.attempt, job.blocked)
        if self._move(job, event, why) and job.state == machine.WAIT:
            job.counts = event == machine.FAILED
            job.blocked += event == machine.BLOCKED
            self._wait(job, why.text, seconds)

    def _give_way(self, job: Job) -> None:
        why = Refusal(family="operator", code=machine.GAVE_WAY, text="another update goes first")
        if self._move(job, machine.BLOCKED, why):
            job.counts = False
            self._wait(job, why.text, 0.0)

    def _wait(self, job: Job, text: str, seconds: float) -> None:
        job.progress = Progress(since=self.clock.mono(), blocked_by=text, retry_at=self.clock.mono() + int(seconds * NS))

    def _confirm(self, job: Job) -> None:
        """Judge a release in service; commit it, or go back."""
        if job.stop:
            self._move(job, job.stop, job.stopped_by)
            return
        if job.moved.kind == ROLLBACK:  # it was proven before
            self._move(job, machine.DONE)
            return
        seen = self.ports.watched(job.model)
        judgement = judge(seen, job.moved.policy)
        progress = job.progress
        progress.windows, progress.seconds, progress.waits_for = seen.windows, seen.seconds, judgement.waits_for
        if judgement.why:
            self._move(job, machine.REFUSED, judgement.why)
        elif not judgement.waits_for and self._survives_a_start(job):
            self._move(job, machine.DONE)

    def _survives_a_start(self, job: Job) -> bool:
        """Say whether a daemon starts with this release: because one did, or because a rehearsal does."""
        if self.book.of(job.model).restarts:
            return True
        job.progress.waits_for = "the rehearsal of a start"
        if self.clock.mono() < job.progress.retry_at:
            return False
        try:
            self.ports.rehearse(lambda: self._gives_way(job))
        except Cancelled:
            return False
        except EdgedError as error:
            if error.code in machine.BLOCKING | {"rehearsal-no-start"}:
                self._wait(job, f"a restart of the daemon, or memory to rehearse one: {error.text}", MOST_RETRY_S)
            else:
                self._move(job, machine.REFUSED, Refusal(**error.as_dict()))
            return False
        return True

    def _move(self, job: Job, event: str, why: Refusal | None = None, attempt: int = 0) -> bool:
        """Put a transition to disk, then make it; False where the disk does not take it: then it is tried again."""
        state, attempt = machine.after(job.state, event), attempt or job.moved.attempt
        entry = msgspec.structs.replace(job.moved, at=self.clock.wall(), state=state, why=why or Refusal(), attempt=attempt)
        if not self._note(job, entry):
            return False
        with self._lock:
            job.moved = entry
        job.progress = Progress(since=self.clock.mono())
        if entry.state in machine.EXITS:
            self._leave(job)
        return True

    def _note(self, job: Job, entry: Moved) -> bool:
        try:
            self.book.note(entry)
        except EdgedError as error:
            self._wait(job, error.text, RETRY_S)
            self._retry_journal = job.progress.retry_at
            return False
        return True

    def _leave(self, job: Job) -> None:
        """Let an update go, and see that its model runs what it should."""
        with self._lock:
            self._jobs.remove(job)
        job.close()
        if job.state == machine.SUPERSEDED:  # its successor sees to all that follows
            return
        if job.state == machine.ROLLED_BACK or is_abandoned(self.book.of(job.model)):
            self.stale[job.model] = ""
        if self.stale:
            self._go_back()
        with suppress(EdgedError):
            self._collect()

    def _collect(self) -> None:
        """Remove what nobody needs, unless there are files of which nobody knows yet. Raises BoardError(`store-unwritable`)."""
        with self.at_rest() as rest:
            if rest:
                self.store.collect(self.book.kept() | {(job.model, job.moved.release) for job in self._asked.values()})

    def _go_back(self) -> None:
        """Bring pipelines back to the release that is active."""
        for model in list(self.stale):
            self._restore(model)

    def _restore(self, model: str) -> None:
        try:
            if is_abandoned(self.book.of(model)):
                self.book.note(Restored(at=self.clock.wall(), model=model))
            active = self.book.of(model).active
            release = None if active is None else self.store.load(model, active)
            self.ports.serve(model, release, lambda: self._ending)
            del self.stale[model]
        except Exception as error:
            self.stale[model] = error.text if isinstance(error, EdgedError) else BugError.of("update-bug", error).text
            self._retry_stale = self.clock.mono() + int(RETRY_S * NS)
