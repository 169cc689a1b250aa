"""One download over a link that loses: what to ask for now, what to make of an answer. Time is passed in, nothing is sent here.

Fragments are asked for in ranges. While it is not known who answers, all servers are asked for
one fragment; the first to answer is asked from then on. What does not come is asked for again:

- three fragments that were asked for later have come, or one has, and two round trips have passed: it is lost;
- nothing has come for the timeout: what was asked for before that is lost, and the next timeout is twice as long;
- that happens twice in a row: the server is gone, and all are asked again.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edged.backoff import Backoff
from edged.clock import NS
from edged.exchange.blobs import BUSY, FRAGMENT, MAX_CREDIT, Fragment, Request
from edged.fleet.transfer.assembly import Assembly
from edged.fleet.transfer.roundtrip import RoundTrip
from edged.fleet.transfer.window import Window

PASSED = 3  # fragments that were asked for later and came earlier, before one is given up
SILENCES = 2  # timeouts in a row, before a server is
OTHERS_MAY_HAVE_IT = 3 * NS  # how long others may still answer when a server lacks the blob, or gave a bad piece of it
NEVER = 1 << 62


@dataclass(slots=True)
class _Asked:
    at: int
    order: int
    again: bool
    passed: int = 0


class Download:
    """The fragments of one blob: lost, in flight, or not asked for yet.

    `sid` is the number of this download, `next_piece` as in `Assembly`. `kept` counts the bytes that were of
    use, `dropped` the fragments that were not, by reason: `unasked`, also such as came twice.
    """

    def __init__(self, sha256: str, size: int, sid: int, next_piece: Callable[[], int | None], rng: random.Random) -> None:
        self.kept = 0
        self.dropped: dict[str, int] = {}
        self._sha256, self._sid = sha256, sid
        self._assembly = Assembly(size, next_piece)
        self._flight: dict[int, _Asked] = {}  # by offset, in the order of asking
        self._lost: list[int] = []  # offsets, sorted
        self._first_asked: dict[int, int] = {}  # when, of those lost or in flight
        self._took: dict[int, int] = {}  # of those that came after they were asked for again: how long since the first time
        self._order = 0
        self._window, self._round_trip = Window(), RoundTrip()
        self._server = 0
        self._called: set[int] = set()  # offsets that all were asked for since there was a server
        self._shunned: dict[int, int] = {}  # servers that are not taken before this time
        self._heard = 0
        self._silences = 0
        self._rest_until, self._rests = 0, Backoff(0.5, 30.0, rng)
        self._lacking_since = 0

    # -- out ------------------------------------------------------------------------------

    def requests(self, now: int, *, caught_up: bool = True) -> list[Request]:
        """Give what is to be asked for at `now`, in monotonic nanoseconds.

        Where answers have come that were not given to `on_fragment` yet, it has not `caught_up`: nothing is late then.
        """
        if caught_up:
            self._give_up_holes(now)
            self._give_up_silent(now)
        room = (self._window.credit if self._server else 1) - len(self._flight)
        if room < 1 or now < self._rest_until:
            return []
        if self._flight and not self._lost and room < self._window.credit // 4:
            return []  # few requests for many fragments each
        offsets = sorted(self._take(room))
        return [self._ask(run, now) for run in _runs(offsets)]

    @property
    def is_over(self) -> bool:
        """Say, after `requests`, whether all that was wanted has come."""
        return not self._flight and not self._lost and self._assembly.is_empty

    def is_lacking(self, now: int) -> bool:
        """Say whether a server said that it lacks the blob, and no other had it in time."""
        return self._lacking_since != 0 and now - self._lacking_since >= OTHERS_MAY_HAVE_IT

    @property
    def wake_at(self) -> int:
        """Give when `requests` has something new to say although nothing came; NEVER where it is waiting for nothing."""
        first = next(iter(self._flight.values()), None)
        if first is None:
            return self._rest_until or NEVER
        silent = max(first.at, self._heard) + self._round_trip.timeout
        return min(silent, first.at + self._hole_after) if first.passed else silent

    @property
    def _hole_after(self) -> int:
        return 2 * self._round_trip.smoothed or self._round_trip.timeout

    def _take(self, room: int) -> Iterator[int]:
        for _ in range(room):
            offset = self._lost.pop(0) if self._lost else self._assembly.next_fragment()
            if offset is None:
                return
            yield offset

    def _ask(self, offsets: list[int], now: int) -> Request:
        for offset in offsets:
            self._flight[offset] = _Asked(now, self._order, offset in self._first_asked)
            self._first_asked.setdefault(offset, now)
            self._order += 1
        start = offsets[0]
        if not self._server:
            self._called.add(start)
        length = offsets[-1] + self._assembly.length(offsets[-1]) - start
        return Request(sid=self._sid, sha256=self._sha256, off=start, len=length, frag=FRAGMENT, server=self._server)

    # -- in -------------------------------------------------------------------------------

    def on_fragment(self, fragment: Fragment, now: int) -> tuple[int, bytearray] | None:
        """Take an answer that came at `now`; give a piece that is whole by it: its number and its bytes, not checked."""
        if fragment.refusal:
            self._refused(fragment, now)
            return None
        offset, data = fragment.offset, fragment.data
        is_shunned = offset in self._called and now < self._shunned.get(fragment.server, 0)
        if is_shunned or offset not in self._first_asked or len(data) != self._assembly.length(offset):
            self._drop("unasked")
            self._learn(offset, now)
            if offset in self._called:  # answered by another, earlier
                self._meet(fragment.server, now)
            return None
        self._meet(fragment.server, now)
        self._heard, self._silences, self._lacking_since = now, 0, 0
        self._rests.reset()
        self._rest_until = 0
        self._arrived(offset, now)
        self.kept += len(data)
        return self._assembly.put(offset, data)

    def _arrived(self, offset: int, now: int) -> None:
        took = now - self._first_asked.pop(offset)
        asked = self._flight.pop(offset, None)
        if asked is None:  # given up too early
            self._lost.remove(offset)
            self._round_trip.sample(took)
            return
        if not asked.again:
            self._round_trip.sample(took)
            if not self._round_trip.is_queueing:
                self._window.arrived()
        else:
            self._took[offset] = took
            if len(self._took) > MAX_CREDIT:
                del self._took[next(iter(self._took))]
        if asked.again and now - asked.at < self._round_trip.least:
            return  # the answer to the first request: it says nothing of what was asked for meanwhile
        for each in self._flight.values():
            if each.order > asked.order:
                break
            each.passed += 1

    def _learn(self, offset: int, now: int) -> None:
        """See of an answer that comes a second time that the first was in time: the line is slower than was thought."""
        took = self._took.pop(offset, 0)
        if took:
            self._round_trip.sample(took)
            self._heard, self._silences = now, 0

    def _meet(self, server: int, now: int) -> None:
        """Ask the first to answer from now on."""
        if not self._server and now >= self._shunned.get(server, 0):
            self._server = server
            self._called.clear()

    def _refused(self, fragment: Fragment, now: int) -> None:
        is_ours = fragment.server == self._server or not self._server
        if not is_ours or fragment.offset not in self._first_asked:
            self._drop("unasked")
            return
        self._silences = 0
        if fragment.refusal == BUSY:
            self._rest_until = now + int(self._rests.next() * NS)
            self.leave_server()
            return
        self._lacking_since = self._lacking_since or max(1, now)
        if self._server:
            self.leave_server()

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    # -- losses ---------------------------------------------------------------------------

    def _give_up_holes(self, now: int) -> None:
        gone = []
        for offset, asked in self._flight.items():
            if not asked.passed:
                break
            if asked.passed >= PASSED or now >= asked.at + self._hole_after:
                gone.append(offset)
        self._give_up(gone)

    def _give_up_silent(self, now: int) -> None:
        first = next(iter(self._flight.values()), None)
        timeout = self._round_trip.timeout
        if first is None or now < max(first.at, self._heard) + timeout:
            return
        self._give_up([offset for offset, asked in self._flight.items() if now >= asked.at + timeout])
        self._round_trip.back_off()
        self._silences += 1
        if self._server and self._silences >= SILENCES:
            self.leave_server()

    def _give_up(self, offsets: list[int]) -> None:
        for offset in offsets:
            asked = self._flight.pop(offset)
            self._window.lost(asked.order, self._order)
            insort(self._lost, offset)

    def leave_server(self) -> None:
        """Ask all servers again; what was asked of the one is not waited for."""
        self._server = 0
        for offset in self._flight:
            insort(self._lost, offset)
        self._flight.clear()

    def shun_server(self, now: int) -> None:
        """Look for another server than the present one, whose piece was bad; it is taken again when no other answers for a while.

        What it was asked for already is taken: to ask for it twice would cost as much as another bad piece.
        """
        if self._server:
            self._shunned[self._server] = now + OTHERS_MAY_HAVE_IT
            self._server = 0

    def resume(self, now: int) -> None:
        """Go on after a time without a connection: what was asked for may still come, so it gets its time anew; once."""
        self._window.restart()
        self._round_trip.forget_silence()  # it was the connection's
        self._heard, self._silences = now, 0
        self._first_asked = dict.fromkeys(self._first_asked, now)
        self._give_up([offset for offset, asked in self._flight.items() if asked.again])
        for asked in self._flight.values():
            asked.at, asked.again = now, True


def _runs(offsets: list[int]) -> Iterator[list[int]]:
    """Cut sorted offsets into such as follow each other."""
    run: list[int] = []
    for offset in offsets:
        if run and offset != run[-1] + FRAGMENT:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
