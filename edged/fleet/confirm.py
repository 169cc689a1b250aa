"""Has a release that serves shown that it is good? Pure: what was counted since the swap in, a judgement out."""

from __future__ import annotations

from dataclasses import dataclass

from edged.models.entries import Policy, Refusal

LEAST_ERRORS = 5
MOST_ERRORS = 0.05  # of the windows
LEAST_LATE = 10
MOST_LATE = 0.05  # of the results


@dataclass(frozen=True)
class Watched:
    """What the pipelines of a model did since the swap, summed up.

    windows    that went to the model
    errors     of these without a result: the model raised, or gave no number
    results    that went out, `late` of them after their pipeline's deadline
    was_late   the part of results that was late under the release before
    seconds    since the swap, or since the start of the daemon
    pipelines  that run it
    stuck      one of them has been at one window for too long
    behind     messages that waited at the swap, or at the start of the daemon, are still worked off
    failed     why one of them could not go over to it or start with it
    """

    windows: int = 0
    errors: int = 0
    results: int = 0
    late: int = 0
    was_late: float = 0.0
    seconds: float = 0.0
    pipelines: int = 0
    stuck: bool = False
    behind: bool = False
    failed: Refusal | None = None


@dataclass(frozen=True)
class Judgement:
    """`why` is not None: roll back. `waits_for`: words; empty: proven, but for a restart."""

    why: Refusal | None = None
    waits_for: str = ""


def judge(seen: Watched, policy: Policy) -> Judgement:
    """Judge a release in service."""
    if seen.failed:
        return Judgement(seen.failed)
    if seen.stuck:
        return Judgement(_publisher("model-hangs", "a window has been in the model for too long"))
    if seen.errors >= LEAST_ERRORS and seen.errors > MOST_ERRORS * seen.windows:
        text = f"{seen.errors} of {seen.windows} windows gave no result"
        return Judgement(_publisher("error-flood", text))
    if seen.late >= LEAST_LATE and seen.late > MOST_LATE * seen.results and seen.was_late <= MOST_LATE:
        text = f"{seen.late} of {seen.results} results came after the pipeline's deadline; under the release before {seen.was_late:.0%} did"
        return Judgement(_publisher("latency-breach", text))
    return Judgement(waits_for=_waits_for(seen, policy))


def _waits_for(seen: Watched, policy: Policy) -> str:
    if not seen.pipelines:
        return "no pipeline runs it"
    if seen.windows < policy.windows:
        return f"{seen.windows} of {policy.windows} windows"
    if seen.seconds < policy.seconds:
        return f"{policy.seconds - seen.seconds:.0f} s left"
    if seen.behind:
        return "messages that waited are worked off"
    return ""


def _publisher(code: str, text: str) -> Refusal:
    return Refusal(family="publisher", code=code, text=text, hint="give the next release another number, when it is mended")
