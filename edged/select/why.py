"""Say of every variant why it was chosen, or the first reason why not, and what to do for a pipeline for which there is none."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edged.errors import DoesNotFit
from edged.select.choose import whole, work
from edged.select.misses import misses, number, pair
from edged.select.quality import known, relative
from edged.select.terms import Choice, Demand, Limits, Option

_HINTS = {
    "engine": "give the model a variant for an engine that this board has",
    "quality": "lower `[quality] minimum` in a new release, or give it a better variant",
    "deadline": "raise `deadline_ms` of the pipeline, or give the model a smaller variant",
    "processor": "give the model a smaller variant, or run fewer pipelines on this board",
    "memory": "give the model a smaller variant, or run fewer pipelines on this board; `memory_budget_mib` may allow more",
}
_UNFINISHED = "search: ended before what is best for all was known"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of one pipeline. Times in ms a window, memory in MiB; `code` is `chosen` or the first word of `reason`.

    `threads` work on a window together; `stage` is its place in a cascade, None where there is none.
    """

    pipeline: str
    model: str
    release: int
    windows_per_s: float
    variant: str
    engine: str
    quality: float | None
    predicted_ms: float
    predicted_mib: float
    measured_ms: float | None
    measured_mib: float | None
    chosen: bool
    reason: str
    code: str
    threads: int = 1
    stage: int | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What `edged why` shows: the board and its limits, and a row for each variant.

    By pipeline: `refusals` are the errors of those for which nothing was chosen, `running` is the variant that runs now.
    """

    board: str
    limits: Limits
    rows: list[Row]
    refusals: dict[str, dict[str, str]] = {}
    running: dict[str, str] = {}


def answer(board: str, demands: Sequence[Demand], limits: Limits, choice: Choice) -> Answer:
    """Say all of a choice."""
    refused = {pipeline: error.as_dict() for pipeline, error in refusals(demands, limits, choice).items()}
    return Answer(board=board, limits=limits, rows=explain(demands, limits, choice), refusals=refused)


def explain(demands: Sequence[Demand], limits: Limits, choice: Choice) -> list[Row]:
    """Give a row for each option: in the order of the demands, what was chosen first, then by quality."""
    rows = []
    for demand in demands:
        chosen, others = choice.chosen.get(demand.pipeline), _others(demands, choice, demand.pipeline)
        shares = {option.variant: share for option, share in zip(demand.options, relative(demand))}
        for option in sorted(demand.options, key=lambda each: (each != chosen, -shares[each.variant], each.variant)):
            reason = "chosen" if option == chosen else _reason(demand, option, limits, others, chosen)
            rows.append(_row(demand, option, option == chosen, reason))
    return rows


def refusals(demands: Sequence[Demand], limits: Limits, choice: Choice) -> dict[str, DoesNotFit]:
    """Give an error for each pipeline for which nothing was chosen."""
    without = [demand for demand in demands if choice.chosen.get(demand.pipeline) is None]
    return {demand.pipeline: refusal(demand, limits, _others(demands, choice, demand.pipeline)) for demand in without}


def refusal(demand: Demand, limits: Limits, others: Sequence[tuple[Demand, Option]] = ()) -> DoesNotFit:
    """Make the error for a pipeline for which nothing was chosen: the variant that lacks least, and what and by how much.

    `others` are the pipelines that run, with what was chosen for them; what they take is not left of `limits`.
    """
    what = f"no variant of {demand.model} {demand.release} fits here for {demand.pipeline}"
    lacking = [(option.variant, missed) for option in demand.options if (missed := misses(demand, option, limits, others))]
    if not lacking:
        return DoesNotFit("does-not-fit", f"{what}: there is none", "ask the publisher of the model")
    variant, missed = min(lacking, key=lambda each: (max(miss.lack for miss in each[1]), len(each[1]), each[0]))
    text = f"{what}; nearest is {variant}: {'; '.join(miss.text + miss.by for miss in missed)}"
    return DoesNotFit("does-not-fit", text, _HINTS.get(missed[0].code, "see `edged why`"))


def _others(demands: Sequence[Demand], choice: Choice, pipeline: str) -> list[tuple[Demand, Option]]:
    running = [(demand, choice.chosen.get(demand.pipeline)) for demand in demands if demand.pipeline != pipeline]
    return [(demand, option) for demand, option in running if option is not None]


def _reason(demand: Demand, option: Option, limits: Limits, others: Sequence[tuple[Demand, Option]], chosen: Option | None) -> str:
    missed = misses(demand, option, limits, others)
    if missed:
        return missed[0].text
    return _worse(demand, option, chosen) if chosen is not None else _UNFINISHED


def _worse(demand: Demand, option: Option, chosen: Option) -> str:
    """Say in what an option that fits is not as good as the one that was chosen."""
    shares = dict(zip((each.variant for each in demand.options), relative(demand)))
    own_share, best_share, best = shares[option.variant], shares[chosen.variant], chosen.variant
    if option.stage and chosen.stage and option.stage < chosen.stage:
        return f"cascade: it is asked before {best}"
    own_need, best_need = (whole(work(demand, each), each.mib) for each in (option, chosen))
    if own_share < best_share:
        return _lower(option, chosen)
    if own_share == best_share and own_need[0] > best_need[0]:
        own, less = pair(option.ms, chosen.ms)
        return f"slower: {own} ms, {best} takes {less}"
    if own_share == best_share and own_need[0] == best_need[0] and own_need[1] > best_need[1]:
        own, less = pair(option.mib, chosen.mib)
        return f"larger: {own} MiB, {best} takes {less}"
    return f"alike: {best} comes first by name" if own_share == best_share and own_need == best_need else _UNFINISHED


def _lower(option: Option, chosen: Option) -> str:
    own, better = known(option), known(chosen)
    if own is None or better is None:
        return f"quality: not known, {chosen.variant} has {number(better or 0.0, 3)}"
    shown = pair(own, better, 3)
    return f"quality: {shown[0]}, {chosen.variant} has {shown[1]}"


def _row(demand: Demand, option: Option, is_chosen: bool, reason: str) -> Row:
    return Row(
        pipeline=demand.pipeline,
        model=demand.model,
        release=demand.release,
        windows_per_s=demand.windows_per_s,
        variant=option.variant,
        engine=option.engine,
        quality=option.quality,
        predicted_ms=option.predicted_ms,
        predicted_mib=option.predicted_mib,
        measured_ms=option.ms if option.measured else None,
        measured_mib=option.mib if option.measured_mib else None,
        chosen=is_chosen,
        reason=reason,
        code=reason.partition(":")[0],
        threads=option.threads,
        stage=option.stage,
    )
