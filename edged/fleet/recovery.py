"""What becomes, at a start, of updates that were under way when the last process ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from edged.clock import Clock
from edged.errors import EdgedError
from edged.fleet import machine
from edged.fleet.job import Job, Progress
from edged.fleet.requests import PUSH
from edged.models.book import Book
from edged.models.entries import Began, Held, Moved, Pinned, Refusal, Restored, Update
from edged.models.store import Candidate, Store

MAX_CRASHES = 2  # one may have been a power cut
LOOKED_UP = "its order is looked up"


@dataclass(frozen=True)
class Recovered:
    """An event for the machine, empty where the update stays as it is; `attempt` and `why` belong to it."""

    event: str
    attempt: int
    why: Refusal = field(default_factory=Refusal)


def recover(book: Book, store: Store, clock: Clock) -> list[Job]:
    """Note that a daemon begins; give the updates that go on. Raises BoardError(`store-unwritable`)."""
    clean = not book.ledger.running
    book.note(Began(at=clock.wall()))
    jobs = [_go_on(book, store, clock, model, held, clean) for model, held in book.models().items() if is_under_way(held)]
    for model, held in book.models().items():
        if is_abandoned(held):
            book.note(Restored(at=clock.wall(), model=model))
    return [job for job in jobs if job is not None]


def still_watched(book: Book, store: Store, clock: Clock) -> list[Job]:
    """Give the updates whose release serves and is not proven yet, as they stand: for a command that works without a daemon."""
    found = ((model, held.update) for model, held in book.models().items() if is_under_way(held) and held.update)
    watched = [(model, update) for model, update in found if update.state in (machine.ACTIVATE, machine.CONFIRM)]
    candidates = [(model, update, _stored(store, model, update)) for model, update in watched]
    return [Job(_entry_of(model, update), each, progress=Progress(since=clock.mono())) for model, update, each in candidates if each]


def keep_unnamed(book: Book, store: Store) -> None:
    """Pin releases of which a damaged or lost journal may have said that they are needed. Raises BoardError."""
    known = book.models()
    for each in store.releases():
        if (each.name not in known or book.bad_lines) and each.release not in book.of(each.name).pinned:
            book.note(Pinned(model=each.name, release=each.release, on=True))


def is_under_way(held: Held) -> bool:
    """Say whether an update has not come to its end."""
    return held.update is not None and held.update.state not in machine.EXITS


def coming(models: Mapping[str, Held], jobs: Iterable[Job]) -> set[str] | None:
    """Give the SHA-256 of all that pushes under way want; None while that is not known of one of them, because its order is looked up."""
    pushes = [job for job in jobs if job.moved.kind == PUSH]
    known = {job.moved.digest for job in pushes if job.candidate is not None}
    under_way = [held.update.digest for held in models.values() if held.update and is_under_way(held) and held.update.kind == PUSH]
    if not known.issuperset([*under_way, *(job.moved.digest for job in pushes)]):
        return None
    return {seal.sha256 for job in pushes if job.candidate for seal in job.candidate.seals.values()}


def is_abandoned(held: Held) -> bool:
    """Say whether a release serves that nobody proves any more, though there is a good one: its successor came to nothing."""
    return held.unproven and held.last_good is not None and not is_under_way(held)


def recovered(held: Held, update: Update, stored: bool, clean: bool) -> Recovered:
    """Say how an update goes on. Pure.

    `stored` says whether what was wanted of its release is in the store, `clean` that the daemon before was stopped, and did
    not just end. A push goes on without: its bytes are where they were.
    """
    if update.state in (machine.ACTIVATE, machine.CONFIRM):
        return _in_service(held, update, stored)
    if not stored and update.kind != PUSH:
        text = "the process that brought its files ended in between"
        return Recovered(machine.LOST, update.attempt, Refusal(family="board", code="source-lost", text=text, hint="install it again"))
    # A stop is no failure, nor is an end while it waited for space; nor one while bytes came from far, which may take as long as
    # a board is switched off daily without a word, and each time goes on where it was.
    waited, came = update.state == machine.WAIT, update.kind == PUSH and update.state in (machine.EVALUATE, machine.FETCH)
    if update.why.code in {*machine.BLOCKING, machine.GAVE_WAY} if waited else clean or came:
        return Recovered(machine.RESTARTED, update.attempt)
    if update.attempt >= machine.MAX_ATTEMPTS:
        text = f"the daemon ended in each of {update.attempt} attempts; the last one was at {update.state}"
        return Recovered(machine.EXHAUSTED, update.attempt, Refusal(family="board", code="interrupted", text=text, hint=""))
    return Recovered(machine.RESTARTED, update.attempt + 1)


def _in_service(held: Held, update: Update, stored: bool) -> Recovered:
    if not stored:
        text, hint = "its files in the store are not what was put there", "install it again; if it happens again, the disk is failing"
        return Recovered(machine.REFUSED, update.attempt, Refusal(family="board", code="store-damaged", text=text, hint=hint))
    if held.crashes >= MAX_CRASHES:
        text = f"the daemon ended {held.crashes} times without a clean stop while this release was new"
        hint = "`journalctl -u edged` says what was logged before; `edged models show` what the trial said"
        return Recovered(machine.REFUSED, update.attempt, Refusal(family="publisher", code="crash-loop", text=text, hint=hint))
    return Recovered(machine.RESTARTED if update.state == machine.ACTIVATE else "", update.attempt)


def _go_on(book: Book, store: Store, clock: Clock, model: str, held: Held, clean: bool) -> Job | None:
    """Note what becomes of an update; give it where it goes on."""
    update = held.update
    assert update is not None
    candidate = _stored(store, model, update)
    how, entry = recovered(held, update, candidate is not None, clean), _entry_of(model, update)
    if how.event:
        state = machine.after(update.state, how.event)
        entry = msgspec.structs.replace(entry, at=clock.wall(), state=state, attempt=how.attempt, why=how.why)
        book.note(entry)
    if entry.state in machine.EXITS:
        return None
    return Job(entry, candidate, progress=Progress(since=clock.mono(), blocked_by="" if candidate else LOOKED_UP))


def _stored(store: Store, model: str, update: Update) -> Candidate | None:
    """Give an update's release from the store, None where it is not there, or another is."""
    try:
        candidate = store.candidate(model, update.release)
    except EdgedError:
        return None
    return candidate if candidate.digest == update.digest else None


def _entry_of(model: str, update: Update) -> Moved:
    """Give the entry that made an update what it is."""
    return Moved(
        at=update.since,
        model=model,
        release=update.release,
        version=update.version,
        digest=update.digest,
        input=update.input,
        kind=update.kind,
        state=update.state,
        attempt=update.attempt,
        source=update.source,
        policy=update.policy,
        why=update.why,
    )
