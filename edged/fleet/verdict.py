"""Judge a trial: from what the child said and how it ended to a report, or to the error that rejects the release.

Nothing here runs anything.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from edged.errors import BoardError, BugError, EdgedError, OperatorError, PeerError, PublisherError
from edged.fleet.trial_words import At, Confined, Done, Failed, Limits, PassedOver, TrialReport, TrialRequest, Word

_FAMILIES: dict[str, type[EdgedError]] = {each.family: each for each in (BoardError, BugError, OperatorError, PeerError, PublisherError)}
_LONGEST = 400  # characters of a text of the child's
_SHRINK = "make the model smaller, or run it on a board with more memory"
_ELSEWHERE = "run it where the model is made, with the same runtime"


class End(Enum):
    """Why the child is no more."""

    ITSELF = "it ended"
    WALL = "it took too long"
    MEMORY = "it took too much memory"
    NOISE = "its report was none"


@dataclass(frozen=True)
class Ended:
    """How the child ended: by whom, with which exit code (negative: a signal), and the tail of its standard error.

    `waited_s` is how long it stood in the queue for a processor, where it was ended for its wall time.
    """

    end: End
    code: int
    tail: str = ""
    waited_s: float = 0.0


@dataclass
class Said:
    """What the child said, added up. `passed_over` outlives the child that said it."""

    at: At | None = None
    confined: Confined | None = None
    failed: Failed | None = None
    done: Done | None = None
    passed_over: dict[str, str] = field(default_factory=dict)

    def hear(self, line: bytes) -> None:
        """Take one line; msgspec.DecodeError where it is none of ours."""
        word = msgspec.json.decode(line, type=Word)
        if isinstance(word, At):
            self.at = word
        elif isinstance(word, Confined):
            self.confined = self.confined or word
        elif isinstance(word, PassedOver):
            self.passed_over[_clean(word.variant)] = f"{word.code}: {_clean(word.text)}"
        elif isinstance(word, Failed):
            self.failed = word
        else:
            self.done = word

    @property
    def stage(self) -> str:
        """Say where the child was, to follow a verb."""
        return f" while {_clean(self.at.stage)}" if self.at else ""


@dataclass(frozen=True)
class _Case:
    """All that a rule looks at."""

    request: TrialRequest
    limits: Limits
    said: Said
    ended: Ended

    @property
    def who(self) -> str:
        return f"{self.request.name} {self.request.release}"


def judge(request: TrialRequest, limits: Limits, said: Said, ended: Ended) -> TrialReport:
    """Give the report of a release that may serve; raise the error of the first rule that rejects it."""
    case = _Case(request, limits, said, ended)
    for applies, error in _RULES:
        if applies(case):
            raise error(case)
    assert said.done is not None  # the last but one rule
    return _report(request, said, said.done)


def runtime_to_blame(said: Said, ended: Ended) -> str:
    """Name the runtime that died while it was only opened, so that another may do better; empty otherwise."""
    opened_only = said.at is not None and said.at.portable
    return said.at.runtime if said.at and opened_only and ended.end is End.ITSELF and ended.code < 0 else ""


def signal_name(code: int) -> str:
    """Name the signal of an exit code below zero."""
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def _starved(case: _Case) -> EdgedError:
    text = f"the trial of {case.who} waited {case.ended.waited_s:.0f} of {case.limits.wall_s:g} s for a processor"
    return BoardError("trial-starved", text, "install the release when this board has less to do")


def _wall(case: _Case) -> EdgedError:
    text = f"{case.who} was not done within {case.limits.wall_s:g} s{case.said.stage}"
    return PublisherError("trial-hung", text, "look for a loop that does not end; a sound model is done in seconds")


def _memory(case: _Case) -> EdgedError:
    text = f"{case.who} took more than {case.limits.memory_mib} MiB{case.said.stage}"
    return PublisherError("trial-memory", text, _SHRINK)


def _one_piece(case: _Case) -> EdgedError:
    text = f"{case.who} asked for more than {case.limits.memory_mib} MiB in one piece{case.said.stage}"
    return PublisherError("trial-memory", text, _SHRINK)


def _kernel(case: _Case) -> EdgedError:
    text = f"the kernel killed the trial of {case.who}{case.said.stage}, as it does when memory is short"
    return BoardError("trial-memory", text, "free memory on this board, then install the release again")


def _cpu(case: _Case) -> EdgedError:
    text = f"{case.who} took more than {case.limits.cpu_s} s of processor time{case.said.stage}"
    return PublisherError("trial-cpu", text, "make the model smaller, or its goldens fewer")


def _noise(case: _Case) -> EdgedError:
    return PublisherError("trial-crashed", f"{case.who} made the trial answer nonsense{case.said.stage}", _ELSEWHERE)


def _signal(case: _Case) -> EdgedError:
    return PublisherError("trial-crashed", f"{case.who} crashed with {signal_name(case.ended.code)}{case.said.stage}", _ELSEWHERE)


def _no_start(case: _Case) -> EdgedError:
    how = signal_name(case.ended.code) if case.ended.code < 0 else f"exit code {case.ended.code}"
    text = f"the trial's process did not start, {how}: {_last_line(case.ended.tail)}"
    return BoardError("trial-no-start", text, "run `edged doctor`; see whether edged is installed whole")


def _runtime(case: _Case) -> EdgedError:
    assert case.said.at is not None
    text = f"{_clean(case.said.at.runtime)} crashes here with {signal_name(case.ended.code)} when it is imported"
    return BoardError("engine-missing", text, "see `edged doctor`; install a build for this processor")


def _failed(case: _Case) -> EdgedError:
    failed = case.said.failed
    assert failed is not None
    return _FAMILIES.get(failed.family, BugError)(failed.code, f"{case.who}: {_named(case.request, failed.text)}", _clean(failed.hint))


def _silent(case: _Case) -> EdgedError:
    text = f"{case.who} ended the trial with exit code {case.ended.code}{case.said.stage}: {_last_line(case.ended.tail)}"
    return PublisherError("trial-crashed", text, _ELSEWHERE)


def _slow(case: _Case) -> EdgedError:
    assert case.said.done is not None
    text = f"{case.who} {_clean(case.said.done.variant)} takes {case.said.done.p95_ms:.3g} ms a window (p95) on this board"
    hint = "make the model smaller, or give the pipeline more time: `deadline_ms`"
    return PublisherError("too-slow", f"{text}, and the deadline is {case.request.deadline_ms:g} ms", hint)


def _is_slow(case: _Case) -> bool:
    done, deadline = case.said.done, case.request.deadline_ms
    return done is not None and deadline is not None and done.p95_ms > deadline


# The first rule that applies rejects the release. What the parent saw comes before what the child said.
_RULES: list[tuple[Callable[[_Case], bool], Callable[[_Case], EdgedError]]] = [
    (lambda c: c.ended.end is End.WALL and c.ended.waited_s > c.limits.wall_s / 2, _starved),
    (lambda c: c.ended.end is End.WALL, _wall),
    (lambda c: c.ended.end is End.MEMORY, _memory),
    (lambda c: c.ended.end is End.NOISE, _noise),
    (lambda c: c.said.at is None and c.said.failed is None, _no_start),
    (lambda c: c.ended.code == -signal.SIGXCPU, _cpu),
    (lambda c: c.ended.code == -signal.SIGKILL, _kernel),
    (lambda c: c.ended.code < 0 and c.said.confined is None, _runtime),
    (lambda c: c.ended.code == -signal.SIGSYS, _one_piece),  # see trial/seccomp.py: nothing else is answered so
    (lambda c: c.ended.code < 0, _signal),
    (lambda c: c.said.failed is not None, _failed),
    (lambda c: c.ended.code != 0 or c.said.done is None, _silent),
    (_is_slow, _slow),
]


def _report(request: TrialRequest, said: Said, done: Done) -> TrialReport:
    running = request.running.p50_ms if request.running else None
    predicted = request.predicted.get(done.variant)
    return TrialReport(
        variant=_clean(done.variant),
        engine=_clean(done.engine),
        load_ms=done.load_ms,
        pss_mib=done.pss_mib,
        p50_ms=done.p50_ms,
        p95_ms=done.p95_ms,
        windows=done.windows,
        goldens=done.goldens,
        deadline_ms=request.deadline_ms,
        predicted_mib=predicted.mib if predicted else None,
        pss_ratio=_ratio(done.pss_mib, predicted.mib if predicted else None),
        predicted_ms=predicted.ms if predicted else None,
        predicted_ratio=_ratio(done.p50_ms, predicted.ms if predicted else None),
        running_p50_ms=running,
        p50_ratio=_ratio(done.p50_ms, running),
        confined=said.confined.confined if said.confined else [],
        not_confined=said.confined.not_confined if said.confined else [],
        passed_over={name: _named(request, text) for name, text in said.passed_over.items()},
    )


def _named(request: TrialRequest, text: str) -> str:
    """Call files by their names in the release: those in the store, by which the child opened them, say nothing to people."""
    for name, path in request.files.items():
        if (stored := os.path.basename(path)) != name:
            text = text.replace(stored, name).replace(f"`{name}`: {name}: ", f"`{name}`: ")
    return _clean(text)


def _ratio(value: float, other: float | None) -> float | None:
    return round(value / other, 3) if other else None


def _last_line(tail: str) -> str:
    lines = tail.strip().splitlines()
    return _clean(lines[-1]) if lines else "it said nothing"


def _clean(text: str) -> str:
    """Make a text of the child's fit for a terminal."""
    return "".join(char if char.isprintable() else " " for char in text[:_LONGEST])
