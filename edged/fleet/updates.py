"""Bring one update after the other through the machine.

Updates may be asked for by any thread. `step` is called by one thread and does one thing at a time:
back to a good release first, then the next stage of an update, then a look at those in service.
Each transition is in the journal before anything is done about it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

import msgspec

from edged.clock import NS, Clock
from edged.errors import BugError, Cancelled, EdgedError
from edged.fleet import machine
from edged.fleet.job import Job, Progress
from edged.fleet.outcome import RETRY_S, outcome
from edged.fleet.ports import Ports
from edged.fleet.recovery import coming, is_abandoned, keep_unnamed, recover, still_watched
from edged.fleet.requests import ROLLBACK
from edged.fleet.stages import Stages
from edged.fleet.watching import LOOK_S, Watching
from edged.models.book import Book
from edged.models.entries import Ended, Fell, Moved, Refusal, Restored
from edged.models.source import Source
from edged.models.store import Candidate, Store


class Updates:
    """The updates of one board.

    `stale`: models whose pipelines have yet to go back to the active release, with what went wrong. `glance` is called now and
    then while a stage is worked on, by its thread, so that what is not wanted any more can be ended.
    """

    def __init__(self, store: Store, book: Book, ports: Ports, clock: Clock) -> None:
        """The store's claim is held."""
        self.store, self.book, self.ports, self.clock = store, book, ports, clock
        self.stale: dict[str, str] = {}
        self.changed = threading.Event()
        self.glance: Callable[[], None] = lambda: None
        self._stages = Stages(store, book, ports, self._collect)
        self._lock = threading.RLock()
        self._asked: dict[str, Job] = {}  # by model; what the working thread has not taken up yet
        self._jobs: list[Job] = []
        self._working: Job | None = None
        self._urgent = self._ending = False  # urgent: somebody wants a good release back, so what is worked on gives way
        self._retry_stale = self._retry_journal = 0
        self._watching = Watching(book, ports, clock)

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

    def called(self) -> bool:
        """See to what else the thread does, where it is held up outside of `step`; say whether that has something to do at once."""
        self.ports.look()
        return self._ending or self._urgent or bool(self._asked) or self._watching.calls(self._jobs, proven=True)

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
                if each.model == job.model and each.stop != machine.CANCELLED:
                    each.stop, each.stopped_by = machine.REPLACED, Refusal()
            self._asked[job.model] = job
            self._urgent = self._urgent or job.moved.kind == ROLLBACK
        self.changed.set()

    def hurry(self, codes: Collection[str]) -> None:
        """Let updates that wait for what one of these codes says look for it now, and as often as at first."""
        for job in self.jobs():
            if job.state == machine.WAIT and job.moved.why.code in codes:
                job.blocked, job.progress.retry_at = 0, self.clock.mono()
        self.changed.set()

    def supersede(self, model: str) -> bool:
        """End the update of a model for another one that is still to come; False where there is none."""
        return self._stop(model, machine.REPLACED, Refusal())

    def stop_update(self, model: str, why: Refusal) -> bool:
        """End the update of a model, wherever it is; False where there is none."""
        return self._stop(model, machine.CANCELLED, why)

    def _stop(self, model: str, event: str, why: Refusal) -> bool:
        with self._lock:
            asked = self._asked.pop(model, None)
            if asked is not None:
                asked.close()
            found = [job for job in self._jobs if job.model == model]
            for job in found:
                if job.stop != machine.CANCELLED:  # who cancelled it was promised its end
                    job.stop, job.stopped_by = event, why
                self._urgent = self._urgent or job is not self._working  # what is worked on gives way, so that this one ends soon
            if asked is not None and not found and is_abandoned(self.book.of(model)):
                self.stale[model] = ""
        self.changed.set()
        return bool(asked or found)

    def jobs(self) -> list[Job]:
        """Give the updates under way and those that wait for their turn."""
        with self._lock:
            return [*self._jobs, *self._asked.values()]

    def join(self, candidate: Candidate, source: Source) -> Job | None:
        """Give the update under way of this very release, None where there is none; one that has no candidate takes both."""
        with self._lock:
            newest = self._asked.get(candidate.packed.name) or next((job for job in self._jobs if job.model == candidate.packed.name), None)
            if newest is None or newest.stop or newest.moved.digest != candidate.digest:
                return None
            if newest.candidate is None:
                newest.candidate, newest.source, newest.progress = candidate, source, Progress(since=self.clock.mono())
        self.changed.set()
        return newest

    def coming(self) -> set[str] | None:
        """Give the hashes of the blobs that pushes under way want, see `Store.collect`."""
        return coming(self.book.models(), self.jobs())

    @contextmanager
    def at_rest(self) -> Iterator[bool]:
        """Say whether no update has files in the store that neither a release names yet nor `coming`; so it stays while this is held."""
        with self._lock:
            yield not any(job.state == machine.VERIFY or (job.state == machine.FETCH and not job.is_far) for job in self._jobs)

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
        self.glance()
        fetches = job.is_far and job.state == machine.FETCH
        newcomer = self._asked and (job.progress.shadow or fetches)  # who waits for readings or bytes may do so for days
        if self._ending or job.stop or self._urgent or newcomer:
            return True
        return self._watching.calls([each for each in self._jobs if each is not self._working], proven=fetches)

    def _fail(self, job: Job, error: EdgedError) -> None:
        why = Refusal(**error.as_dict())
        event, seconds = outcome(error, job.state, job.moved.attempt, job.blocked)
        if self._move(job, event, why) and job.state == machine.WAIT:
            job.counts = event == machine.FAILED
            job.blocked += event == machine.BLOCKED
            job.wait(self.clock, why.text, seconds)

    def _give_way(self, job: Job) -> None:
        why = Refusal(family="operator", code=machine.GAVE_WAY, text="another update goes first")
        if self._move(job, machine.BLOCKED, why):
            job.counts = False
            job.wait(self.clock, why.text, 0.0)

    def _confirm(self, job: Job) -> None:
        """Judge a release in service; commit it, or go back."""
        event, why = (job.stop, job.stopped_by) if job.stop else self._watching.judge(job, lambda: self._gives_way(job))
        if event:
            self._move(job, event, why)

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
            job.wait(self.clock, error.text, RETRY_S)
            self._retry_journal = job.progress.retry_at
            return False
        return True

    def _leave(self, job: Job) -> None:
        """Let an update go, and see that its model runs what it should."""
        with self._lock:
            self._jobs.remove(job)
        job.close()
        if job.state == machine.SUPERSEDED and job.model in self._asked:  # its successor sees to all that follows
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
                asked = {(job.model, job.moved.release) for job in self._asked.values()}
                self.store.collect(self.book.kept() | asked, self.coming())

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
