"""One update on its way: what is known of it while this process lives. What must outlive it is in the journal."""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.clock import NS, Clock
from edged.fleet.machine import CONFIRM, WAIT
from edged.models.entries import Moved, Refusal
from edged.models.manifest import Release
from edged.models.source import Remote, Source
from edged.models.store import Candidate


@dataclass
class Progress:
    """How far a stage is: `done` of `total`, in bytes, or in windows where `shadow`.

    `since` and `retry_at` are monotonic nanoseconds; `blocked_by` and `waits_for` are words.
    `windows` and `seconds` are those that a release served so far.
    """

    since: int = 0
    done: int = 0
    total: int = 0
    shadow: bool = False
    blocked_by: str = ""
    retry_at: int = 0
    waits_for: str = ""
    windows: int = 0
    seconds: float = 0.0

    def left_s(self, now: int) -> float | None:
        """Give how long the rest takes at the speed so far; None where that is not known."""
        if not 0 < self.done < self.total or now <= self.since:
            return None
        return (now - self.since) / NS * (self.total - self.done) / self.done


@dataclass
class Job:
    """An update and what it works with.

    candidate  None for a push that goes on after a restart, until its order was looked up: then it is known what is to come
    stop       the event that somebody asked for: cancelled (by `stopped_by`) or replaced
    counts     whether the next try is another attempt: it is after a failure, not after a wait for space or for its turn
    blocked    how often it waited for what the board may come to have
    """

    moved: Moved
    candidate: Candidate | None
    source: Source | None = None
    release: Release | None = None
    progress: Progress = field(default_factory=Progress)
    stop: str = ""
    stopped_by: Refusal = field(default_factory=Refusal)
    counts: bool = False
    blocked: int = 0

    @property
    def model(self) -> str:
        """Name the model."""
        return self.moved.model

    @property
    def state(self) -> str:
        """Name the state."""
        return self.moved.state

    @property
    def is_far(self) -> bool:
        """Say whether its bytes come from far away: that may take days."""
        return isinstance(self.source, Remote)

    @property
    def known(self) -> Candidate:
        """Give the candidate of a job that is worked on."""
        assert self.candidate is not None, "a job without a candidate is never ready"
        return self.candidate

    def is_ready(self, clock: Clock) -> bool:
        """Say whether its stage can be worked on now."""
        if self.state == CONFIRM:
            return False
        if self.stop:
            return True
        return self.candidate is not None and (self.state != WAIT or clock.mono() >= self.progress.retry_at)

    def wait(self, clock: Clock, text: str, seconds: float) -> None:
        """Let it wait; `text` says for what."""
        self.progress = Progress(since=clock.mono(), blocked_by=text, retry_at=clock.mono() + int(seconds * NS))

    def close(self) -> None:
        """Let go of the source."""
        if self.source is not None:
            self.source.close()
            self.source = None
