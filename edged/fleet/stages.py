"""What is done in each state of an update. A stage may be cut off anywhere, and done again from its start."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from edged.errors import BoardError, EdgedError
from edged.fleet.job import Job
from edged.fleet.machine import ACTIVATE, EVALUATE, FETCH, TRIAL, VERIFY
from edged.fleet.ports import Cancelled, Ports
from edged.models.book import Book
from edged.models.entries import Tried
from edged.models.store import Store

_MIB = 1 << 20


class Stages:
    """The work of each state; raises EdgedError where it cannot be done, and Cancelled."""

    def __init__(self, store: Store, book: Book, ports: Ports, collect: Callable[[], None]) -> None:
        """`collect` makes room."""
        self._store = store
        self._collect = collect
        self._book = book
        self._ports = ports
        self._by_state: dict[str, Callable[[Job, Cancelled], None]] = {
            EVALUATE: self._evaluate,
            FETCH: self._fetch,
            VERIFY: self._verify,
            TRIAL: self._trial,
            ACTIVATE: self._activate,
        }

    def work(self, job: Job, cancelled: Cancelled) -> None:
        """Do what the job's state asks for."""
        self._by_state[job.state](job, cancelled)

    def _evaluate(self, job: Job, _cancelled: Cancelled) -> None:
        """Say no to what can be known before the first byte; from far away only what is worth fetching will come."""
        candidate = job.known.whole() if job.is_far else job.known
        packed = candidate.packed
        variants = self._ports.fitting(self._store.planned(candidate), packed)
        job.candidate = candidate.narrowed(variants) if job.is_far else candidate
        need = self._store.space(job.candidate)
        if need and need > self._store.room():
            self._collect()
        room = self._store.room()
        if need and need > room:
            text = f"{packed.name} {packed.release} needs {need / _MIB:.1f} MiB, and {room / _MIB:.1f} MiB are free for models"
            raise BoardError("no-space", text, "remove releases that are not used, or other files")

    def _fetch(self, job: Job, cancelled: Cancelled) -> None:
        def ends() -> bool:
            over = cancelled()
            if not over:
                self._ports.look()
            return over

        job.progress.total = self._store.need(job.known)
        if job.source is not None:
            self._store.fetch(job.source, job.known, _counting(job), ends if job.is_far else cancelled)

    def _verify(self, job: Job, cancelled: Cancelled) -> None:
        job.progress.total = sum(seal.size for seal in job.known.seals.values())
        job.release = self._store.verify(job.known, _counting(job), cancelled)
        job.close()  # all of it is in the store

    def _trial(self, job: Job, cancelled: Cancelled) -> None:
        model, number, shadow = job.model, job.moved.release, job.moved.policy.shadow
        job.release = self._store.load(model, number)
        self._book.note(Tried(model=model, release=number, report=self._ports.trial(job.release, cancelled)))
        if shadow and self._ports.wants(model):
            job.progress.total, job.progress.shadow = shadow, True
            report = self._ports.shadow(job.release, shadow, _counting(job), cancelled)
            self._book.note(Tried(model=model, release=number, report={"shadow": report}))

    def _activate(self, job: Job, cancelled: Cancelled) -> None:
        model, number = job.model, job.moved.release
        took = self._ports.serve(model, self._store.load(model, number), cancelled)
        if took:
            with suppress(EdgedError):  # it serves; that is what counts
                self._book.note(Tried(model=model, release=number, report={"swap": took}))


def _counting(job: Job) -> Callable[[int], None]:
    def count(done: int) -> None:
        job.progress.done = done

    return count
