"""Ask a repository in a thread of its own: one that is slow, or gives a byte now and then, holds up nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edged.clock import NS, Clock
from edged.errors import BugError, EdgedError
from edged.fleet.repositories import Pending, Repository, unreachable

PATIENCE_NS = 60 * NS  # for one answer; then it counts as none, and nothing more is asked until it came or failed
LOOK_NS = NS // 10  # what is wanted within it belongs to one look
ROUND_NS = 30 * NS  # looks that are further apart want to know anew
LONGEST_ROUND_NS = 600 * NS

_Answer = bytes | EdgedError | None


class Aside:
    """Another repository, asked one thing at a time; what it answered is there at the next look. See `Repository`.

    Where an answer has still to come it raises Pending.
    """

    pushes = False

    def __init__(self, repository: Repository, clock: Clock, wake: Callable[[], None]) -> None:
        """`wake` is called when an answer came, from another thread."""
        self.name = repository.name
        self._repository, self._clock, self._wake = repository, clock, wake
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}
        self._busy_since = 0  # monotonic ns; 0: nothing is asked
        self._began = self._looked = clock.mono()
        self._failed = self._pends = False  # in the present look

    def metadata(self, name: str) -> bytes | None:
        """See `Repository`."""
        return self._give(name, self._repository.metadata)

    def desired(self, audience: str) -> bytes | None:
        """See `Repository`."""
        return self._give(audience, self._repository.desired)

    def _give(self, what: str, ask: Callable[[str], bytes | None]) -> bytes | None:
        """Give an answer of this look; have it asked for where there is none."""
        now = self._clock.mono()
        with self._lock:
            self._turn(now)
            if what in self._answers:
                answer = self._answers[what]
                if isinstance(answer, EdgedError):
                    self._failed = True
                    raise answer
                return answer
            if self._busy_since and now - self._busy_since >= PATIENCE_NS:
                self._failed = True
                raise unreachable(f"{self.name} was asked {(now - self._busy_since) // NS} s ago and has not answered yet")
            if not self._busy_since:
                self._busy_since = now or 1
                threading.Thread(target=self._ask, args=(what, ask), name="fleet-web", daemon=True).start()
            self._pends = True
        raise Pending(self.name)

    def _turn(self, now: int) -> None:
        """Forget all answers where it is time for others: also after a look that was whole, and found a fault."""
        since = now - self._looked
        if since >= LOOK_NS:
            if since >= ROUND_NS or now - self._began >= LONGEST_ROUND_NS or (self._failed and not self._pends):
                self._answers, self._began = {}, now
            self._failed = self._pends = False
        self._looked = now

    def _ask(self, what: str, ask: Callable[[str], bytes | None]) -> None:
        answer: _Answer
        try:
            answer = ask(what)
        except EdgedError as error:
            answer = error
        except Exception as error:  # it must not end unheard
            answer = BugError.of("repository-bug", error)
        with self._lock:
            self._answers[what], self._busy_since = answer, 0
        self._wake()
