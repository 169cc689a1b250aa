"""Bring what is missing of one blob, by one carrier after another, until it is there or nobody can."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import closing

from edged.clock import NS, Clock
from edged.errors import Cancelled, EdgedError, PeerError
from edged.fleet.transfer.carriers.base import NOT_FOUND, TICK_S, Broken, Carrier, Errand
from edged.fleet.transfer.choice import Choice
from edged.fleet.transfer.goals import Goal
from edged.fleet.transfer.pace import Pace

MUTE_NS = 30 * NS  # connected, and nobody answers
SILENT_NS = 60 * NS  # no byte, connected or not, or nothing but word to ask again later
LEAVE_NS = 5 * NS  # without a connection, before another carrier goes on
LOOK_NS = NS  # how often a better carrier is looked for
MOST_BAD = 3  # copies of a piece


class Fetching:
    """One blob on its way. `came` is told of the bytes of each arrival, `may_go_on` raises where no more may come."""

    def __init__(
        self,
        goal: Goal,
        choice: Choice,
        clock: Clock,
        came: Callable[[int], None],
        may_go_on: Callable[[], None],
        cancelled: Callable[[], bool],
        pause: Callable[[float], None],
    ) -> None:
        self._goal, self._choice, self._clock = goal, choice, clock
        self._count, self._may_go_on, self._cancelled, self._pause = came, may_go_on, cancelled, pause
        self._pace = Pace(clock.mono())
        self._wanted: deque[int] = deque()
        self._lacks: dict[Carrier, PeerError] = {}  # carriers that do not have this blob
        self._bad: dict[int, int] = {}  # copies, by piece
        self._was_bad = False
        self._look_at = 0
        self.damaged = 0

    def run(self) -> None:
        """Do it. Raises Cancelled, what `came`, `may_go_on` and the goal raise, and PeerError as `Transfer` says."""
        self._choice.begin()
        self._ask()
        while missing := deque(self._goal.missing()):
            self._wanted = missing
            self._may_go_on()
            carrier = self._choice.pick(self._lacks)
            if carrier is None:
                self._wait()
                continue
            try:
                self._bring_by(carrier)
            except PeerError as error:
                if error.code == "piece-damaged":
                    raise
                self._failed(carrier, error)

    def _bring_by(self, carrier: Carrier) -> None:
        """Take pieces from a carrier until all are there, or another is to go on."""
        goal = self._goal
        self._pace.begin(self._clock.mono())
        errand = Errand(goal.sha256, goal.size, self._clock, self._next_piece, self._came, lambda: self._was_bad)
        with closing(carrier.bring(errand)) as pieces:
            for piece in pieces:
                if piece is not None:
                    self._take(carrier, *piece)
                    self._pace.skip(self._clock.mono())
                if not self._goes_on(carrier):
                    return

    def _next_piece(self) -> int | None:
        return self._wanted.popleft() if self._wanted else None

    def _came(self, size: int, kept: int) -> None:
        self._pace.came(size, kept, self._clock.mono())
        if size:
            self._count(size)

    def _take(self, carrier: Carrier, number: int, data: bytearray) -> None:
        self._was_bad = not self._goal.take(number, data)
        if not self._was_bad:
            self._choice.worked(carrier)
            if self._wanted:
                self._may_go_on()
            return
        self.damaged += 1
        self._pace.spoiled(len(data))
        self._bad[number] = self._bad.get(number, 0) + 1
        if self._bad[number] >= MOST_BAD:
            text = f"piece {number} of blob {self._goal.sha256[:16]}… came {MOST_BAD} times with other bytes than were signed"
            raise PeerError(
                "piece-damaged", text, "look at the server of the blobs, and at who else may publish on the topics of this device"
            )
        if self._bad[number] == MOST_BAD - 1 and self._choice.pick([*self._lacks, carrier]) is not None:
            raise Broken(f"{carrier.name} gives other bytes than were signed")
        self._wanted.appendleft(number)

    def _goes_on(self, carrier: Carrier) -> bool:
        """Look at the clock; False where another carrier is to go on. Raises what ends the present one."""
        self._ask()
        now, is_connected = self._clock.mono(), carrier.connected()
        self._pace.look(now, is_connected)
        if self._pace.is_slow():
            text = f"{carrier.name} gives less than 1 KiB/s of blob {self._goal.sha256[:16]}…"
            raise PeerError("transfer-slow", text, "look at the link and at the server; what has come is kept")
        if self._pace.mute >= MUTE_NS or (is_connected and self._pace.waits(now) >= SILENT_NS):
            raise _no_server(carrier)
        if now >= self._look_at:
            self._look_at = now + LOOK_NS
            return self._stays(carrier, is_connected, now)
        return True

    def _stays(self, carrier: Carrier, is_connected: bool, now: int) -> bool:
        """Say whether a carrier goes on; one that works ends with the pieces that it has begun."""
        best = self._choice.pick(self._lacks)
        if is_connected:
            if best is not None and best is not carrier:
                self._wanted.clear()
            return True
        silent = self._pace.silent(now)
        return silent < SILENT_NS and (best is None or silent < LEAVE_NS)

    # -- when it does not work ----------------------------------------------------------------

    def _failed(self, carrier: Carrier, error: PeerError) -> None:
        if error.code == NOT_FOUND:
            self._lacks[carrier] = error
        else:
            self._choice.failed(carrier, error)

    def _wait(self) -> None:
        """Wait for a carrier for a moment; raise what there is to say where that has no sense any more."""
        self._ask()
        errors = {each: self._lacks.get(each) or self._choice.failure(each) for each in self._choice.carriers}
        may_come = any(each not in self._lacks and self._choice.may_work_soon(each) for each in errors)
        now = self._clock.mono()
        if not may_come or self._pace.silent(now) >= SILENT_NS:
            raise _worst(list(errors.values()))
        self._pause(TICK_S)
        self._pace.look(self._clock.mono(), False)

    def _ask(self) -> None:
        if self._cancelled():
            raise Cancelled


def _worst(errors: list[PeerError | None]) -> EdgedError:
    """Say why nobody brings it: that it is not there only where all were asked and said so."""
    said = [error for error in errors if error is not None]
    others = [error for error in said if error.code != NOT_FOUND]
    if others:
        return others[0]
    if said and len(said) == len(errors):
        return said[0]
    return PeerError(
        "offline", "there is no connection over which a release could come", "see `edged status` for the broker; it goes on by itself"
    )


def _no_server(carrier: Carrier) -> PeerError:
    text = f"nobody answers over {carrier.name} with what was asked for"
    return PeerError("no-server", text, "start `edged fleet serve` where the repository is; it goes on by itself")
