"""A link that loses, delays, reorders, repeats and cuts, with a server of blobs at its other end; all in virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from edged.clock import NS
from edged.exchange.blobs import MAX_CREDIT, Fragment, Request
from edged.exchange.pieces import PIECE, count_pieces
from edged.fleet.transfer.download import Download

SID, SERVER = 99, 7


@dataclass
class Line:
    """Times in seconds; `rate` in bytes a second, 0 for any; `up_s` of each `cycle_s` it stands."""

    rtt: float = 0.05
    loss: float = 0.0
    jitter: float = 0.0
    twice: float = 0.0
    rate: int = 0
    up_s: float = 0.0
    cycle_s: float = 0.0

    def is_up(self, now: int) -> bool:
        return not self.cycle_s or now / NS % self.cycle_s < self.up_s

    def next_up(self, now: int) -> int:
        if self.is_up(now):
            return now
        return int((now / NS // self.cycle_s + 1) * self.cycle_s * NS) + 1


@dataclass
class Outcome:
    """What a download came to."""

    pieces: dict[int, bytes] = field(default_factory=dict)
    received: int = 0
    took_s: float = 0.0
    requests: int = 0
    most_credit: int = 0


class Simulation:
    """One download of `data` over a line. `answer` makes of a request what the server sends."""

    def __init__(self, data: bytes, line: Line, seed: int = 1, answer: Callable[[Request], list[Fragment]] | None = None) -> None:
        self.data, self.line, self.rng = data, line, random.Random(seed)
        self.wanted = list(range(count_pieces(len(data))))
        self.download = Download("ab" * 32, len(data), SID, self._next_piece, random.Random(seed))
        self.outcome = Outcome()
        self._answer = answer or self.answer
        self._events: list[tuple[int, int, Request | Fragment]] = []
        self._count = 0
        self._free = 0  # when the line has room for the next fragment

    def _next_piece(self) -> int | None:
        return self.wanted.pop(0) if self.wanted else None

    def answer(self, request: Request) -> list[Fragment]:
        """Answer as a server does that has it."""
        data = memoryview(self.data)[request.off : request.off + request.len]
        cuts = range(0, len(data), request.frag)
        return [Fragment(SID, SERVER, request.off + at, data[at : at + request.frag]) for at in cuts]

    def run(self, most_s: float = 100_000) -> Outcome:
        """Let it come to its end."""
        now, was_up = 1, True
        while now < most_s * NS:
            up = self.line.is_up(now)
            if up and not was_up:
                self.download.resume(now)
            was_up = up
            if up:
                for request in self.download.requests(now):
                    self.outcome.requests += 1
                    self._push(now + self._delay(), request)
                assert len(self.download._flight) <= MAX_CREDIT
                self.outcome.most_credit = max(self.outcome.most_credit, self.download._window.credit)
                if self.download.is_over:
                    self.outcome.took_s = now / NS
                    return self.outcome
            now = self._step(now, up)
        raise AssertionError(f"not over after {most_s} s: {sorted(self.outcome.pieces)}")

    def _step(self, now: int, up: bool) -> int:
        """Go to the next thing that happens, and let it."""
        wake = max(now + 1, self.download.wake_at) if up else self.line.next_up(now)
        if self.line.cycle_s:
            wake = min(wake, now + NS // 4)
        if not self._events or self._events[0][0] > wake:
            return wake
        at, _, event = heapq.heappop(self._events)
        if isinstance(event, Request):
            self._serve(at, event)
        elif self.line.is_up(at):
            self.outcome.received += len(event.data)
            piece = self.download.on_fragment(event, at)
            if piece is not None:
                assert piece[0] not in self.outcome.pieces
                self.outcome.pieces[piece[0]] = bytes(piece[1])
        return at

    def _serve(self, at: int, request: Request) -> None:
        if not self.line.is_up(at):  # QoS 1: the link sends it again
            self._push(self.line.next_up(at) + self._delay(), request)
            return
        for fragment in self._answer(request):
            self._free = max(self._free, at) + (len(fragment.data) * NS // self.line.rate if self.line.rate else 1)
            for _ in range(1 + (self.rng.random() < self.line.twice)):
                if self.rng.random() >= self.line.loss:
                    self._push(self._free + self._delay(), fragment)

    def _delay(self) -> int:
        return int((self.line.rtt / 2 + self.rng.random() * self.line.jitter) * NS)

    def _push(self, at: int, event: Request | Fragment) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, event))


def joined(outcome: Outcome, size: int) -> bytes:
    """Give the bytes of all pieces."""
    whole = b"".join(outcome.pieces[number] for number in range(count_pieces(size)))
    assert all(len(outcome.pieces[number]) == PIECE for number in range(size // PIECE))
    return whole
