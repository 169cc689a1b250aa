"""What the fleet wants of this board, as far as it can be believed: metadata, documents, orders. Called by the fleet thread.

    repositories → trust → desired documents → one order a model

A fault keeps what was believed before, for people to see, and begins nothing new. What is accepted is in the floor, on
disk, before anybody acts on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from pathlib import Path

import msgspec

from edged.backoff import Backoff
from edged.clock import NS, Clock
from edged.errors import EdgedError, PeerError, Untrusted
from edged.exchange.desired import Desired, device_audience, group_audience
from edged.fleet.desired import Wanted, accept, merge, moment
from edged.fleet.floor import FloorFile, Revision
from edged.fleet.mailbox import Mailbox
from edged.fleet.repositories import Pending, Repository
from edged.fleet.timekeeping import Time
from edged.fleet.trust import Trusted, refresh

SETTLE_NS = NS // 2  # what belongs together comes together: metadata is looked at when so long nothing came
POLL_NS = 60 * NS  # repositories that do not tell of news
AGAIN_NS = 3600 * NS  # all others: for what expires
SOON_NS = NS // 4  # where a repository has still to answer
FIRST_NS = 3 * NS  # after a start, for what a broker retains
AGAIN_FIRST_S, LOOK_MOST_S = 2.0, 60.0  # after a fault: to look costs nothing but time
ORDERS_ASKED, ORDERS_NS = 4, 15 * NS  # how often, and how far apart: a cluster that lost a node takes subscriptions half a minute late
ASK_MOST_S = 3600.0  # and what is asked for comes as a whole, each time: all metadata, which a fault may outlast by weeks

OK, WAITING, EXPIRED, FAILING = "ok", "waiting", "expired", "failing"


@dataclass
class Beliefs:
    """What was believed last. `faults` are by audience; a document stays accepted while a newer one is refused.

    Other threads read it: its dictionaries are replaced, never changed.
    """

    trusted: Trusted | None = None
    fault: EdgedError | None = None
    documents: dict[str, Desired] = field(default_factory=dict)
    faults: dict[str, EdgedError] = field(default_factory=dict)


class Instructions:
    """The instructions of one board. `wanted` is what of them may be acted on now."""

    def __init__(
        self,
        device: str,
        groups: Sequence[str],
        root: bytes,
        folder: Path,
        floor: FloorFile,
        mailbox: Mailbox,
        repositories: Sequence[Repository],
        time: Time,
        clock: Clock,
        rng: random.Random,
        ask: Callable[[], None],
    ) -> None:
        """`root` is the trust anchor, `folder` caches metadata, `ask` makes broker and publishers say again what they said."""
        self.audiences = [device_audience(device), *map(group_audience, groups)]
        self.beliefs = Beliefs()
        self.floor = floor
        self._root, self._folder = root, folder
        self._mailbox, self._repositories = mailbox, repositories
        self._time, self._clock, self._ask = time, clock, ask
        self._looks = Backoff(AGAIN_FIRST_S, LOOK_MOST_S, rng)
        self._asks = Backoff(AGAIN_FIRST_S, ASK_MOST_S, rng)
        self._ask_at = 0
        self._asks_left = ORDERS_ASKED  # for orders, where metadata came and none of them
        self._heard = 0
        self._seen_at = -1  # the mailbox's mark at the last look
        self._again_at = clock.mono() + FIRST_NS  # monotonic ns
        self._every_ns = AGAIN_NS if all(each.pushes for each in repositories) else POLL_NS

    @property
    def state(self) -> str:
        """Name the state of trust."""
        beliefs = self.beliefs
        if beliefs.fault is not None and beliefs.fault.code == "metadata-expired":
            return EXPIRED
        if beliefs.trusted is None:
            return FAILING if isinstance(beliefs.fault, Untrusted) else WAITING
        if beliefs.trusted.expires <= self._now():
            return EXPIRED
        return FAILING if isinstance(beliefs.fault, Untrusted) else OK

    @property
    def clock_state(self) -> str:
        """Say whether the board's clock is right."""
        return self._time.state

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        """Give the orders that stand: none while metadata is not to be believed, none of documents that have expired.

        Nor of those that go behind one which is held back: whoever holds it back would choose between them.
        """
        if self.beliefs.trusted is None or self.state == EXPIRED:
            return {}
        now, documents = self._now(), self.beliefs.documents
        heard = takewhile(lambda name: not self._is_unheard(name), self.audiences)
        return merge(None, [documents[name] for name in heard if name in documents and documents[name].expires > now])

    @property
    def listing(self) -> int:
        """Give the version of the repository's list of releases; 0: none is trusted."""
        return self.beliefs.trusted.versions["targets"] if self.beliefs.trusted is not None else 0

    def heard(self) -> bool:
        """Say whether a publisher spoke since this was asked last."""
        before, self._heard = self._heard, self._mailbox.heard
        return before != self._heard

    def refresh_now(self) -> None:
        """Look again at the next step, whatever came."""
        self._seen_at, self._again_at = -1, 0

    def look(self) -> None:
        """Take in what is new, where it is time to."""
        now, mark = self._clock.mono(), self._mailbox.changed_at
        due = now >= self._again_at
        if not due and (mark == self._seen_at or now - mark < SETTLE_NS):
            return
        self._seen_at = mark
        try:
            is_all = self._believe()
        except Pending:
            self._again_at = now + SOON_NS
            return
        except EdgedError as error:
            self.beliefs.fault = error
            self._ask_again(now)
            return
        self.beliefs.fault = None
        if is_all and any(map(self._is_unheard, self.audiences)):
            self._ask_again(now)
            return
        if is_all and self._asks_left and not self.beliefs.documents:  # not for ever: there may be none
            if now >= self._ask_at:
                self._asks_left -= 1
                self._ask()
                self._ask_at = now + ORDERS_NS
            self._again_at = self._ask_at
            return
        self._looks.reset()
        self._asks.reset()
        self._ask_at = 0
        self._again_at = now + (self._every_ns if is_all else SOON_NS)

    def _ask_again(self, now: int) -> None:
        """Look again soon, and have all said again where that was not asked for just before."""
        if now >= self._ask_at:
            self._ask()
            self._ask_at = now + int(self._asks.next() * NS)
        self._again_at = now + int(self._looks.next() * NS)

    def _believe(self) -> bool:
        """Refresh trust, then take documents; say whether all repositories have answered.

        Raises the first repository's error where none gives metadata, and Pending while one of them may.
        """
        faults: list[EdgedError] = []
        for repository in self._repositories:
            try:
                trusted, floor = refresh(self._folder, self._root, repository.metadata, self._now(), self.floor.now)
            except EdgedError as error:
                faults.append(error)
                continue
            self.floor.put(msgspec.structs.replace(floor, time=self._time.lifted(floor.time)))
            self.beliefs.trusted = trusted
            break
        else:
            raise _gravest(faults)
        answered = [self._take(audience) for audience in self.audiences]
        return all(answered)

    def _take(self, audience: str) -> bool:
        """Accept the newest document for an audience, from whichever repository has it; say whether all have answered."""
        faults = [fault for repository in self._repositories if (fault := self._take_from(repository, audience)) is not None]
        if any(isinstance(fault, Pending) for fault in faults):
            return False
        others = {name: fault for name, fault in self.beliefs.faults.items() if name != audience}
        if faults and len(faults) == len(self._repositories):  # an old copy beside the new one is no news
            self.beliefs.faults = {**others, audience: faults[0]}
        else:
            self.beliefs.faults = {**others, audience: _missing(audience)} if self._is_unheard(audience) else others
        return True

    def _is_unheard(self, audience: str) -> bool:
        """Say whether a document that was accepted for an audience, and has not expired, was not given since the start."""
        trusted, seen = self.beliefs.trusted, self.floor.now.revs.get(audience)
        if audience in self.beliefs.documents or seen is None or trusted is None or trusted.director is None:
            return False
        return seen.keys == trusted.director.fingerprint and seen.expires > self.now() // NS

    def _take_from(self, repository: Repository, audience: str) -> EdgedError | None:
        try:
            envelope = repository.desired(audience)
            if envelope is not None:
                self._accept(envelope, audience)
        except EdgedError as error:
            return error
        return None

    def _accept(self, envelope: bytes, audience: str) -> None:
        trusted, floor = self.beliefs.trusted, self.floor.now
        if trusted is None or trusted.director is None:
            raise Untrusted("no-director", "the repository names nobody who may order", "the fleet manager runs `edged fleet list DIR`")
        seen = floor.revs.get(audience, Revision())
        document, revision = accept(envelope, audience, trusted.director, seen, self._now())
        self.floor.put(msgspec.structs.replace(floor, revs={**floor.revs, audience: revision}))
        self.beliefs.documents = {**self.beliefs.documents, audience: document}

    def now(self) -> int:
        """Give effective time in nanoseconds since 1970, see `timekeeping.py`."""
        return self._time.now(self.floor.now.time)

    def _now(self) -> datetime:
        return moment(self.now())


def _gravest(faults: Sequence[EdgedError]) -> EdgedError:
    """Give of several repositories' errors the one that says most; none does while one has still to answer."""
    return next((fault for kind in (Pending, Untrusted) for fault in faults if isinstance(fault, kind)), faults[0])


def _missing(audience: str) -> PeerError:
    text = f"orders for {audience} were accepted before, and have not come since the start; those that go behind them wait"
    hint = "they are asked for again; the fleet manager runs `edged fleet publish DIR`, or gives them again with `edged fleet assign`"
    return PeerError("desired-missing", text, hint)
