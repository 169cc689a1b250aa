"""From orders to pushes: which orders are not fulfilled, what brings them on their way, what became of them.

One order a model at a time. An order that came to its end is settled, on disk: it is not begun again, whatever somebody at
the board does afterwards, until the fleet asks again or, where it failed, until what is around it changes. Called by the
fleet thread only.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from edged.backoff import Backoff
from edged.clock import NS, Clock
from edged.errors import Cancelled, EdgedError, OperatorError, Untrusted
from edged.fleet.agent import Agent
from edged.fleet.desired import Wanted
from edged.fleet.floor import MOST_SETTLED, Settled
from edged.fleet.instructions import Instructions
from edged.fleet.job import Job
from edged.fleet.machine import BLOCKING, COMMITTED, EXITS, SUPERSEDED
from edged.fleet.remote import look_up
from edged.fleet.requests import PUSH, input_of
from edged.fleet.transfer.transfer import Transfer
from edged.fleet.trust import Listed
from edged.models.book import Book
from edged.models.entries import Refusal

LOOK_S = 0.5
LOOK_UP_S = 5.0  # while it waits for small files, other updates wait
MOST_LOOK_UP_DOUBLED = 4  # times, one after each failure: the small files of a release take longer than that on a slow line
RETRY_FIRST_S, RETRY_MOST_S = 2.0, 600.0
_WAIT_FOR_PUBLISHER = frozenset({"offline", "no-server", "blob-not-found"})
_RETRIED = BLOCKING | {"transfer-slow", "piece-damaged", "too-many-updates", "update-under-way", "store-unwritable", "trust-unwritable"}


@dataclass
class Pursuit:
    """An order that is not fulfilled yet: what holds it up, or why it was refused; `retry_at` in monotonic ns.

    A refusal stands as long as its `basis` does: what is around the release, and what the repository lists.
    """

    key: str
    backoff: Backoff
    basis: str = ""
    retry_at: int = 0
    blocked: Refusal = field(default_factory=Refusal)
    refused: Refusal = field(default_factory=Refusal)


class Pushes:
    """The pushes of one board. `pursuits` are by model; other threads may read what it is: it is replaced, not changed."""

    def __init__(
        self,
        instructions: Instructions,
        agent: Agent,
        book: Book,
        wants: Callable[[str], bool],
        inputs: Callable[[], str],
        transfer: Transfer,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """`wants` and `inputs` are those of the ports."""
        self.instructions = instructions
        self.pursuits: dict[str, Pursuit] = {}
        self._agent, self._book, self._wants, self._inputs = agent, book, wants, inputs
        self._transfer, self._clock, self._rng = transfer, clock, rng
        self._next_look = 0

    @property
    def received(self) -> int:
        """Count the bytes of models that came, those that were thrown away included."""
        return self._transfer.received

    def step(self) -> float:
        """Do what there is to do for orders; give the seconds until there may be more."""
        self.instructions.look()
        if self.instructions.heard():  # a publisher is there: who waited for one need not go on waiting
            self._agent.updates.hurry(_WAIT_FOR_PUBLISHER)
            for pursuit in self.pursuits.values():
                pursuit.retry_at = 0
        wanted, inputs = self.instructions.wanted, self._inputs()
        if not self.pursuits.keys() <= wanted.keys():
            self.pursuits = {model: pursuit for model, pursuit in self.pursuits.items() if model in wanted}
        began = any(self._pursue(each, inputs) for each in wanted.values())  # one: then others have their turn
        self._withdraw()
        return 0.0 if began else LOOK_S

    def glance(self) -> None:
        """Look, while a stage of an update is worked on, whether its order still stands; end it where not. Begins nothing."""
        now = self._clock.mono()
        if now >= self._next_look:
            self._next_look = now + int(LOOK_S * NS)
            self.instructions.look()
            self._withdraw()

    def settled(self, model: str) -> Settled | None:
        """Say what became of the last order of a model that came to its end."""
        return self.instructions.floor.now.settled.get(model)

    def _pursue(self, wanted: Wanted, inputs: str) -> bool:
        """Bring one order a step further; say whether it was begun, or that was tried, which may have taken its time."""
        input = input_of(wanted.order.sha256, f"{inputs}\n{wanted.salt}")
        basis = f"{input} {self.instructions.listing}"
        pursuit = self.pursuits.get(wanted.model)
        if pursuit is None or pursuit.key != wanted.key:
            pursuit = Pursuit(wanted.key, Backoff(RETRY_FIRST_S, RETRY_MOST_S, self._rng))
            self.pursuits = {**self.pursuits, wanted.model: pursuit}
        tries = False
        try:
            tries = not self._is_over(wanted, input) and self._clock.mono() >= pursuit.retry_at and pursuit.basis != basis
            if tries:
                self._begin(wanted, input, LOOK_UP_S * 2 ** min(pursuit.backoff.attempts, MOST_LOOK_UP_DOUBLED))
                pursuit.blocked = pursuit.refused = Refusal()
        except EdgedError as error:
            self._hold(pursuit, basis, error)
        return tries

    def _hold(self, pursuit: Pursuit, basis: str, error: EdgedError) -> None:
        """Note why an order does not go on: it is tried again later, or it is refused for this basis."""
        why = Refusal(**error.as_dict())
        if error.code in _RETRIED or isinstance(error, Cancelled):
            pursuit.blocked, pursuit.refused = why, Refusal()
            pursuit.retry_at = self._clock.mono() + int(pursuit.backoff.next() * NS)
        else:
            pursuit.blocked, pursuit.refused, pursuit.basis = Refusal(), why, basis

    def _is_over(self, wanted: Wanted, input: str) -> bool:
        """Say whether nothing is to be begun: it is settled, under way, or comes to its end just now, which is noted."""
        settled = self.settled(wanted.model)
        if settled is not None and settled.order == wanted.key and (settled.committed or settled.input == input):
            return True
        standing = self._agent.standing(wanted.model, wanted.order.release, wanted.order.sha256)
        if standing == COMMITTED:
            self._settle(wanted, input, None)
        if standing:
            return True
        if any(job.moved.digest == wanted.order.sha256 and job.candidate for job in self._agent.updates.jobs()):
            return True  # also where somebody at the board asked for it
        update = self._book.of(wanted.model).update
        if update is None or update.kind != PUSH or update.digest != wanted.order.sha256 or update.input != input:
            return False
        if update.state in EXITS and update.state != SUPERSEDED:
            self._settle(wanted, input, update.why if update.state != COMMITTED else None)
            return True
        return False

    def _begin(self, wanted: Wanted, input: str, patience_s: float) -> None:
        """Hand an order to the machine. Raises the EdgedError of what is in its way."""
        if not self._wants(wanted.model):
            text = f"no pipeline of this board runs {wanted.model}"
            raise OperatorError("not-wanted", text, f'nothing, or give a pipeline of this board `model = "{wanted.model}"`')
        listed = self._listed(wanted)
        name = f"{wanted.model} {wanted.order.release}, ordered for {wanted.audience}"
        end = self._clock.mono() + int(patience_s * NS)
        source = look_up(name, listed, self._transfer, lambda: self._agent.updates.called() or self._clock.mono() > end)
        if self._agent.push(source, wanted.order.policy, wanted.salt).state == COMMITTED:
            self._settle(wanted, input, None)

    def _listed(self, wanted: Wanted) -> Listed:
        trusted, order = self.instructions.beliefs.trusted, wanted.order
        listed = trusted.find(wanted.model, order.release) if trusted is not None else None
        if listed is None or listed.sha256 != order.sha256:
            other = "has another content in the repository" if listed is not None else "is not in the repository"
            text = f"{wanted.model} {order.release} was ordered for {wanted.audience}, and {other}"
            raise Untrusted("release-unlisted", text, "the fleet manager runs `edged fleet list DIR`, and assigns one that is there")
        return listed

    def _settle(self, wanted: Wanted, input: str, why: Refusal | None) -> None:
        """Note durably that an order came to its end."""
        floor = self.instructions.floor
        settled = {name: each for name, each in floor.now.settled.items() if name != wanted.model}
        for name in list(settled)[: max(0, len(settled) + 1 - MOST_SETTLED)]:
            del settled[name]
        settled[wanted.model] = Settled(wanted.key, input, why is None, why or Refusal())
        floor.put(msgspec.structs.replace(floor.now, settled=settled))

    def _withdraw(self) -> None:
        """End pushes whose order does not stand any more: another release is wanted, or the document that gave it does so no longer."""
        for job in self._agent.updates.jobs():
            if job.moved.kind != PUSH or job.stop:
                continue
            order = self.instructions.wanted.get(job.model)
            if order is not None and order.order.sha256 != job.moved.digest:
                self._agent.updates.supersede(job.model)
            elif order is None and self._is_withdrawn(job):
                self._agent.cancel(job.model)

    def _is_withdrawn(self, job: Job) -> bool:
        """Say whether the document that ordered a push was heard since the start, and does not name its model; or was another board's."""
        audience = job.moved.source.rpartition(" ")[2]
        document = self.instructions.beliefs.documents.get(audience)
        return audience not in self.instructions.audiences or (document is not None and job.model not in document.models)
