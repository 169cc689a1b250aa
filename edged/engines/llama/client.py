"""The parent's side of a runner: start it, ask it, see how it fails, start it anew.

A call that a runner fails over is asked once more of a new one. Three failures within ten minutes are a loop: from then on each call
fails at once, so that the model can be put aside. A runner that says nothing for long hangs: it speaks ten times a second while it works.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from edged.backoff import Backoff
from edged.clock import NS, Clock, SystemClock
from edged.engines.llama import wire
from edged.engines.llama.child import Child, Gone
from edged.errors import BoardError, BugError, error_of
from edged.pss import pss_mib

Answering = wire.Score | wire.Pool | wire.Write
_Done = TypeVar("_Done")
_HINTS = {
    "runner-crashed": "see whether it does so with other texts; report this, with the log",
    "runner-out-of-memory": "choose a smaller variant, or a smaller `context`",
    "runner-hung": "see whether the board is too slow for this model; choose a smaller variant",
    "runner-garbled": "report this, with the log",
}


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Limits:
    """What is borne of a runner. `slower`: so many times its longest silence so far is a hang, if longer than `silent_s`."""

    silent_s: float = 10.0
    start_silent_s: float = 60.0  # Python starts, numpy is imported, a slow card is read
    slower: float = 5.0
    failures: int = 3
    within_s: float = 600.0


class Client:
    """One model in a runner."""

    def __init__(
        self,
        order: wire.Load,
        limits: Limits | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        """Start a runner; raises what loading raises, and as `ask`."""
        self._order, self._limits, self._clock, self._sleep = order, limits or Limits(), clock or SystemClock(), sleep
        self._backoff = Backoff(0.2, 5.0, rng or random.Random())
        self._failed: deque[int] = deque()
        self._looping = False
        self._closed = False
        self._longest_s = 0.0
        self._child: Child | None = None
        self.ready = self._retried(lambda: self._start(_nothing), _nothing)

    def ask(self, request: Answering, progress: Callable[[], None], paused: Callable[[], None]) -> wire.Numbers | wire.Answers:
        """Give the answer to a request. `progress` is called while it takes long, `paused` where the runner rests until that returns.

        What these two raise ends the request, and the runner. Raises what the runner says; BoardError: `runner-crashed`,
        `runner-out-of-memory`, `runner-hung`, `runner-garbled` where it failed twice, `runner-crash-loop`.
        """
        if self._closed:
            raise BugError("engine-misused", "engine llama was asked after it was closed")
        return self._retried(lambda: self._asked(request, progress, paused), progress)

    def pause(self) -> None:
        """Ask the runner to rest soon; from any thread."""
        if (child := self._child) is not None:
            with suppress(wire.Closed, wire.Silent):
                child.channel.send(wire.Pause())

    def mib(self) -> float:
        """Give the memory of the runner, 0 where there is none."""
        return 0.0 if (child := self._child) is None else pss_mib(child.pid)

    @property
    def pid(self) -> int | None:
        """Give the runner's process."""
        return self._child.pid if self._child else None

    def close(self) -> None:
        """End the runner."""
        self._closed = True
        self._end()

    def _retried(self, attempt: Callable[[], _Done], progress: Callable[[], None]) -> _Done:
        if self._looping:
            raise self._loop("")
        try:
            return attempt()
        except Gone as gone:
            self._count(gone)
        self._sleep(self._backoff.next())
        progress()
        try:
            return attempt()
        except Gone as gone:
            self._count(gone)
            raise BoardError(gone.code, f"the process that runs the model failed twice: {gone.text}", _HINTS[gone.code]) from gone

    def _asked(self, request: Answering, progress: Callable[[], None], paused: Callable[[], None]) -> wire.Numbers | wire.Answers:
        if self._child is None:
            self.ready = self._start(progress)
        child = self._child
        assert child is not None
        try:
            child.channel.send(request)
            while True:
                reply = self._heard(child, max(self._limits.silent_s, self._limits.slower * self._longest_s))
                if isinstance(reply, wire.Working):
                    self._tell(progress)
                elif isinstance(reply, wire.Paused):
                    self._tell(paused)
                    child.channel.send(wire.Go())
                elif isinstance(reply, wire.Failed):
                    raise error_of(reply.family, reply.code, reply.text, reply.hint)
                elif fault := self._misfit(request, reply):
                    raise child.garbled(fault)
                else:
                    assert isinstance(reply, (wire.Numbers, wire.Answers))
                    return reply
        except wire.Silent:
            raise child.hung(self._limits.silent_s) from None
        except wire.Closed:
            raise child.ended() from None

    def _tell(self, who: Callable[[], None]) -> None:
        """Call who is to know; where that gives the request up, the runner, which is at work on it, ends."""
        try:
            who()
        except BaseException:
            self._end()
            raise

    def _start(self, progress: Callable[[], None]) -> wire.Ready:
        child = self._child = Child(self._order, self._limits.silent_s)
        try:
            while isinstance(reply := self._heard(child, self._limits.start_silent_s), wire.Working):
                self._tell(progress)
        except wire.Closed:
            raise child.ended() from None
        if isinstance(reply, wire.Failed):
            self._end()
            raise error_of(reply.family, reply.code, reply.text, reply.hint)
        if not isinstance(reply, wire.Ready):
            raise child.garbled(f"{type(reply).__name__} before it was ready")
        return reply

    def _heard(self, child: Child, seconds: float) -> wire.Reply:
        """Take the next frame, which must come in so many seconds."""
        asked = self._clock.mono()
        try:
            reply = child.channel.receive(seconds)
        except wire.Silent:
            raise child.hung(seconds) from None
        except wire.Garbled as garbled:
            raise child.garbled(str(garbled)) from None
        self._longest_s = max(self._longest_s, (self._clock.mono() - asked) / NS)
        return reply

    def _misfit(self, request: Answering, reply: wire.Reply) -> str:
        """Say what is wrong with an answer to a request; empty: nothing."""
        count = len(request.texts)
        if isinstance(reply, wire.Answers) and isinstance(request, wire.Write):
            return "" if len(reply.answers) == count else f"{len(reply.answers)} answers to {count} texts"
        if isinstance(reply, wire.Numbers) and not isinstance(request, wire.Write):
            shape = (reply.rows, reply.columns)
            fits = shape == (count, self.ready.values) and len(reply.data) == 8 * count * self.ready.values
            return "" if fits else f"numbers {list(shape)} in {len(reply.data)} bytes, and not {[count, self.ready.values]}"
        return f"{type(reply).__name__} to {type(request).__name__}"

    def _count(self, gone: Gone) -> None:
        """Note a failure. Raises BoardError(`runner-crash-loop`) where it is one too many."""
        self._end()
        now = self._clock.mono()
        while self._failed and now - self._failed[0] > self._limits.within_s * NS:
            self._failed.popleft()
        if not self._failed:
            self._backoff.reset()
        self._failed.append(now)
        if len(self._failed) >= self._limits.failures:
            self._looping = True
            raise self._loop(f"; lastly: {gone.text}") from gone

    def _loop(self, lastly: str) -> BoardError:
        text = f"the process that runs the model failed {self._limits.failures} times within {self._limits.within_s / 60:g} min{lastly}"
        return BoardError("runner-crash-loop", text, "choose another variant, or publish another file")

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
