"""What people and fleets may ask of a board's releases: install, push, activate, roll back, cancel, remove, pin.

The answers come at once: refused, or taken. What is taken is worked off by `step`.
"""

from __future__ import annotations

from edged.clock import Clock
from edged.errors import EdgedError, OperatorError
from edged.fleet import requests
from edged.fleet.job import Job
from edged.fleet.machine import ACTIVATE, COMMITTED, CONFIRM
from edged.fleet.ports import Ports
from edged.fleet.recovery import is_under_way
from edged.fleet.updates import Updates
from edged.models.book import Book
from edged.models.entries import Held, Moved, Pinned, Policy, Refusal, Removed, Update
from edged.models.source import Remote, Source
from edged.models.store import Candidate, Store

MOST_SOURCES = 4  # at once: each that is not far away may hold a file open for every file of its release

_BY_OPERATOR = Refusal(family="operator", code="rolled-back-by-operator", text="somebody asked for the release before")
_CANCELLED = Refusal(family="operator", code="cancelled", text="somebody cancelled it")


class Agent:
    """The control path of one board, for callers from any thread; `updates` has the thread that works."""

    def __init__(self, store: Store, book: Book, ports: Ports, clock: Clock) -> None:
        """The store's claim is held."""
        self._store, self._book, self._ports, self._clock = store, book, ports, clock
        self.updates = Updates(store, book, ports, clock)

    def install(self, source: Source, policy: Policy) -> Moved:
        """Take a release from outside; its source is closed when it is no longer needed, here or later.

        Gives its first entry; that of one that serves already says `committed` or `confirm`.
        Raises what `Store.examine` and `requests.asked` raise.
        """
        try:
            candidate = self._store.examine(source)
            serving = self._serving(candidate)
            if serving is not None:
                source.close()
                return serving
            return self._ask(requests.INSTALL, candidate, source, policy)
        except BaseException:
            source.close()
            raise

    def push(self, source: Source, policy: Policy, salt: str) -> Moved:
        """Take a release that the fleet wants here; its source is closed when it is no longer needed, here or later.

        Gives its entry, as `install` does. One that is under way already goes on as it is, so the same order may come again
        and again; one that waited for its order after a restart goes on now. `salt` names the order: a release that failed
        for good is tried again for another one. A release of the store that does not serve is brought into service.
        Raises what `Store.examine` and `requests.asked` raise.
        """
        try:
            candidate = self._store.examine(source)
            serving = self._serving(candidate)
            if serving is not None:
                source.close()
                return serving
            return self._joined(candidate, source) or self._ask(requests.PUSH, candidate, source, policy, salt)
        except BaseException:
            source.close()
            raise

    def _joined(self, candidate: Candidate, source: Source) -> Moved | None:
        """Give the entry of the update under way of this very release."""
        job = self.updates.join(candidate, source)
        if job is not None and job.source is not source:
            source.close()
        return job.moved if job is not None else None

    def activate(self, model: str, release: int, policy: Policy) -> Moved:
        """Bring a release of the store into service, through its trial. Raises OperatorError(`no-such-release`, `serves-already`)."""
        held = self._held(model)
        if held.active == release and (is_under_way(held) or not held.unproven):
            raise OperatorError("serves-already", f"{model} {release} serves already", "nothing is to be done")
        return self._ask(requests.ACTIVATION, self._store.candidate(model, release), None, policy)

    def rollback(self, model: str) -> int:
        """Bring the good release before the active one back, without a trial; give its number.

        Raises OperatorError(`nothing-to-roll-back`), BoardError(`store-damaged`).
        """
        held = self._held(model)
        target, update = requests.target_of_rollback(model, held), held.update
        if update is None or update.state not in (ACTIVATE, CONFIRM) or not self.updates.stop_update(model, _BY_OPERATOR):
            self._ask(requests.ROLLBACK, self._store.candidate(model, target), None, Policy())
        return target

    def cancel(self, model: str) -> None:
        """End the update of a model; a release that serves already and is watched goes back. Raises OperatorError(`nothing-to-cancel`)."""
        if not self.updates.stop_update(model, _CANCELLED):
            raise OperatorError("nothing-to-cancel", f"no update of {model} is under way", "`edged models list` shows what there is")

    def remove(self, model: str, release: int) -> None:
        """Take a release out of the store, and forget its failures.

        Raises OperatorError: `no-such-release`, `release-active`, `release-last-good`, `release-pinned`,
        `release-staged`, `update-under-way`; BoardError(`store-unwritable`).
        """
        held = self._held(model)
        asked = {job.moved.release for job in self.updates.jobs() if job.model == model}
        requests.check_removable(model, release, held, asked)
        forgotten = any(failure.release == release for failure in held.failures.values())
        with self.updates.at_rest() as rest:
            if not rest:
                raise OperatorError("update-under-way", "files of an update are being taken in", "try again when they are")
            is_stored = any((each.name, each.release) == (model, release) for each in self._store.releases())
            if not is_stored and not forgotten:
                self._store.packed(model, release)  # raises
            self._book.note(Removed(model=model, release=release))
            if is_stored:
                self._store.remove(model, release, self.updates.coming())
        self.updates.changed.set()

    def pin(self, model: str, release: int, on: bool) -> None:
        """Keep a release, or no longer. Raises OperatorError(`no-such-release`), BoardError(`store-unwritable`)."""
        self._store.packed(model, release)
        self._book.note(Pinned(model=model, release=release, on=on))

    def standing(self, model: str, release: int, digest: str) -> str:
        """Say how a release stands that serves: `committed`, or `confirm` where it is watched; empty where it does not serve."""
        held = self._held(model)
        if held.active != release or (held.unproven and not is_under_way(held)):
            return ""
        stored = self._stored(model, release)
        if stored is None or stored.digest != digest:
            return ""
        return CONFIRM if held.unproven else COMMITTED

    def update(self, model: str) -> Update | None:
        """Give the newest update of a model, as the journal has it."""
        return self._book.of(model).update

    def step(self) -> float:
        """Do the next thing, see `Updates.step`."""
        return self.updates.step()

    def _ask(self, kind: str, candidate: Candidate, source: Source | None, policy: Policy, salt: str = "") -> Moved:
        moved = requests.asked(
            kind,
            candidate,
            self._held(candidate.packed.name),
            source=source.name if source else "",
            policy=policy,
            around=self._ports.inputs() + (f"\n{salt}" if kind == requests.PUSH else ""),
            stored=self._is_stored(candidate),
            at=self._clock.wall(),
        )
        is_near = source is not None and not isinstance(source, Remote)
        if is_near and sum(job.source is not None and not job.is_far for job in self.updates.jobs()) >= MOST_SOURCES:
            raise OperatorError(
                "too-many-updates", f"{MOST_SOURCES} updates are under way or wait", "wait until one has ended, or cancel one"
            )
        self.updates.ask(Job(moved, candidate, source))
        return moved

    def _held(self, model: str) -> Held:
        return self._book.of(model)

    def _serving(self, candidate: Candidate) -> Moved | None:
        """Say how a release stands that serves already; None for all others."""
        packed, digest = candidate.packed, candidate.digest
        state, at = self.standing(packed.name, packed.release, digest), self._held(packed.name).since
        if not state:
            return None
        return Moved(at=at, model=packed.name, release=packed.release, version=packed.version, digest=digest, input="", state=state)

    def _is_stored(self, candidate: Candidate) -> bool:
        """Say whether all of a release that is wanted is in the store."""
        stored = self._stored(candidate.packed.name, candidate.packed.release)
        return stored is not None and stored.digest == candidate.digest and stored.wanted.issuperset(candidate.wanted)

    def _stored(self, model: str, release: int) -> Candidate | None:
        try:
            return self._store.candidate(model, release)
        except EdgedError:
            return None
