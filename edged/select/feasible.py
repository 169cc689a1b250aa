"""Which limits the running variants do not keep under a board's pressure, in words and as codes, and what would keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edged.select.choose import choose, load, work
from edged.select.pressure import Pressure, running_options
from edged.select.quality import is_below_minimum, relative
from edged.select.terms import Demand, Limits, Option

MEMORY, HEAT, THROTTLED, DEADLINE, RATE, RELIEF = (
    "memory-pressure", "heat", "throttled", "deadline-misses", "rate-rose", "relief",
)  # fmt: skip
_CLOSE = 1e-9  # sums of the same numbers in another order


def broken(pressure: Pressure, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str], *, margin: bool = False) -> list[str]:
    """Give the causes, the most urgent first, for which `running` does not keep the limits; none: it keeps all.

    `demands` and `limits` are those at ease. With `margin`, the distance that a new choice keeps is asked for.
    """
    squeezed, narrow = pressure.squeezed(demands, limits, margin=margin)
    options = running_options(squeezed, running)
    used = {each.pipeline: work(each, options[each.pipeline]) for each in squeezed}
    alone = max((load(each, options[each.pipeline]) for each in squeezed), default=0.0)
    causes = []
    if sum(option.mib for option in options.values()) > narrow.memory_mib + _CLOSE:
        causes.append(MEMORY)
    if sum(used.values()) > narrow.share * narrow.workers + _CLOSE and narrow.workers < limits.workers:
        causes.append(HEAT)
    if sum(used.values()) > limits.share * limits.workers + _CLOSE or alone > limits.share + _CLOSE:
        causes.append(RATE if pressure.slow <= 1.01 else THROTTLED)
    if any(options[each.pipeline].worst_ms > each.deadline_ms for each in squeezed):
        causes.append(DEADLINE if pressure.late or pressure.slow <= 1.01 else THROTTLED)
    return causes


def in_limits(demands: Sequence[Demand], limits: Limits, running: Mapping[str, str], cause: str) -> dict[str, str]:
    """Give the variant of each pipeline in a choice that keeps the limits, as far as any does; demands and limits are those under pressure.

    No pipeline takes more of what is short than it does, unless the limits cannot be kept otherwise. No pipeline is
    switched off: one that fits no longer takes the least it can, and the others share what that leaves. What is done against
    anything but short memory does not make memory short.
    """
    smaller = [_no_larger(demand, running, cause) for demand in demands]
    wanted, all_fit = _shared(smaller, limits, cause)
    if not all_fit:
        freely, free_fit = _shared(demands, limits, cause)
        wanted = freely if free_fit else wanted
    return wanted if cause == MEMORY else _without_growth(demands, limits, running, wanted)


def _without_growth(demands: Sequence[Demand], limits: Limits, running: Mapping[str, str], wanted: dict[str, str]) -> dict[str, str]:
    """Let pipelines that would grow stay as they are, where the whole has no memory for it."""
    before, after = running_options(demands, running), running_options(demands, wanted)
    if sum(option.mib for option in after.values()) <= limits.memory_mib + _CLOSE:
        return wanted
    return {name: running[name] if after[name].mib > before[name].mib else variant for name, variant in wanted.items()}


def misses_alone(pressure: Pressure, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> frozenset[str]:
    """Name the pipelines that miss their own deadline, or take more of a worker than one may, whatever the others do."""
    squeezed, _ = pressure.squeezed(demands, limits, margin=False)
    options = running_options(squeezed, running)
    pairs = ((each, options[each.pipeline]) for each in squeezed)
    return frozenset(
        each.pipeline for each, option in pairs if option.worst_ms > each.deadline_ms or load(each, option) > limits.share + _CLOSE
    )


def _shared(demands: Sequence[Demand], limits: Limits, cause: str) -> tuple[dict[str, str], bool]:
    """Choose; give the variants, and whether all fit."""
    least: dict[str, Option] = {}
    left = list(demands)
    while left:
        taken = sum(option.mib for option in least.values())
        chosen = choose(left, replace(limits, memory_mib=max(0.0, limits.memory_mib - taken))).chosen
        out = [demand for demand in left if chosen[demand.pipeline] is None]
        if not out:
            break
        least |= {demand.pipeline: _least(demand, cause) for demand in out}
        left = [demand for demand in left if demand not in out]
    kept = {demand.pipeline: option.variant for demand in left if (option := chosen[demand.pipeline])}
    return kept | {name: option.variant for name, option in least.items()}, not least


def _least(demand: Demand, cause: str) -> Option:
    return min(_allowed(demand), key=lambda each: (_need(each, cause), each.ms, each.mib, each.variant))


def _allowed(demand: Demand) -> list[Option]:
    """Give the options that may run; where that is none, all: the one that runs is among them."""
    return [each for each in demand.options if not each.refused and not is_below_minimum(demand, each)] or list(demand.options)


def _no_larger(demand: Demand, running: Mapping[str, str], cause: str) -> Demand:
    now = running_options([demand], running)[demand.pipeline]
    kept = tuple(each for each in demand.options if each == now or _need(each, cause) <= _need(now, cause))
    return replace(demand, options=kept)


def _need(option: Option, cause: str) -> float:
    return option.mib if cause == MEMORY else option.ms * option.threads


def could_rise(demand: Demand, option: Option) -> bool:
    """Say whether a pipeline that runs `option` has a better one that nothing refuses."""
    worth = relative(demand)
    own = worth[demand.options.index(option)]
    return any(each > own for each, other in zip(worth, demand.options) if not other.refused)


def moved(running: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Give what changes: the new variant by pipeline."""
    return {name: variant for name, variant in sorted(wanted.items()) if running.get(name) != variant}


def describe(cause: str, pressure: Pressure, limits: Limits) -> str:
    """Say the cause for people, with its numbers."""
    seen = pressure.observed
    if cause == MEMORY and seen.available_mib is not None:
        return f"{cause}: {seen.available_mib:,.0f} MiB are available, {pressure.kept_mib:,.0f} are kept free"
    if cause == HEAT:
        return f"{cause}: {seen.temperature_c:.0f} °C" if seen.temperature_c is not None else f"{cause}: the board says it is too hot"
    if cause == THROTTLED:
        return f"{cause}: everything takes {pressure.slow:.1f} times as long"
    if cause == DEADLINE and pressure.late:
        return f"{cause}: results of {', '.join(sorted(pressure.late))} are late"
    if cause == DEADLINE:
        return f"{cause}: windows take longer than they may"
    if cause == RATE:
        return f"{cause}: more windows come than {limits.share:.0%} of {limits.workers:g} workers' time takes"
    return f"{cause}: models take more than {limits.memory_mib:,.0f} MiB"
