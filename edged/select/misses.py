"""What an option lacks to run beside the others, in words and by how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, inf, isfinite, log10

from edged.select.choose import load, may_run, whole, work
from edged.select.quality import is_below_minimum, known
from edged.select.terms import Demand, Limits, Option

Others = Sequence[tuple[Demand, Option]]


@dataclass(frozen=True)
class Miss:
    """One thing that an option lacks. `text` begins with its code; `lack` is by what part of the limit; `by` the same for people."""

    text: str
    lack: float = inf
    by: str = ""

    @property
    def code(self) -> str:
        """Give the word for programs."""
        return self.text.partition(":")[0]


def misses(demand: Demand, option: Option, limits: Limits, others: Others) -> list[Miss]:
    """Give what an option lacks, the first reason first; nothing where it could run beside `others`."""
    if option.refused:
        return [Miss(option.refused)]
    return [*_own(demand, option, limits), *_shared(demand, option, limits, others)]


def _own(demand: Demand, option: Option, limits: Limits) -> Iterator[Miss]:
    """Give what it lacks even alone."""
    own, minimum, busy = known(option), demand.minimum, load(demand, option)
    if own is not None and minimum is not None and is_below_minimum(demand, option):
        shown = pair(own, minimum, 3)
        worse = "is below" if demand.higher_is_better else "is worse than"
        yield Miss(f"quality: {shown[0]} {worse} the minimum {shown[1]}", abs(own - minimum) / (abs(minimum) or 1.0))
    if option.worst_ms > demand.deadline_ms:
        shown, over = pair(option.worst_ms, demand.deadline_ms), option.worst_ms - demand.deadline_ms
        yield Miss(f"deadline: {shown[0]} ms, {shown[1]} allowed", over / demand.deadline_ms, f" ({number(over)} ms too much)")
    if busy > limits.share:
        shown = pair(busy, limits.share)
        yield Miss(f"processor: takes {shown[0]} workers, {shown[1]} of one may be used", _lack(busy, limits.share))
    elif not (may_run(demand, option, limits) or is_below_minimum(demand, option) or option.worst_ms > demand.deadline_ms):
        yield Miss("unknown: what it takes is not known")


def _shared(demand: Demand, option: Option, limits: Limits, others: Others) -> Iterator[Miss]:
    """Give what it lacks beside the others."""
    busy, is_alone = work(demand, option), load(demand, option) <= limits.share
    free, free_mib = limits.share * limits.workers, limits.memory_mib
    busy_left = max(0.0, free - sum(work(*other) for other in others))
    mib_left = max(0.0, free_mib - sum(other.mib for _, other in others))
    need, room = whole(busy, option.mib), whole(free, free_mib)
    taken = [whole(work(*other), other[1].mib) for other in others]
    if need[1] + sum(mib for _, mib in taken) > room[1]:
        shown, over = pair(option.mib, mib_left), option.mib - mib_left
        after = _after(others, lambda other: other[1].mib)
        yield Miss(f"memory: needs {shown[0]} MiB, {shown[1]} left{after}", _lack(option.mib, mib_left), f" ({number(over)} MiB short)")
    if is_alone and need[0] + sum(time for time, _ in taken) > room[0]:
        shown, after = pair(busy, busy_left), _after(others, lambda other: work(*other))
        yield Miss(f"processor: takes {shown[0]} workers, {shown[1]} left{after}", _lack(busy, busy_left))


def _lack(need: float, there: float) -> float:
    return need / there - 1 if there > 0 else inf


def _after(others: Others, taken: Callable[[tuple[Demand, Option]], float]) -> str:
    """Name the two others that take most."""
    names = [demand.pipeline for demand, option in sorted(others, key=lambda other: (-taken(other), other[0].pipeline))]
    if len(names) < 3:
        return f" after {' and '.join(names)}" if names else ""
    return f" after {names[0]}, {names[1]} and {len(names) - 2} more"


def number(value: float, digits: int = 2) -> str:
    """Write a number with so many significant digits, and all of those before the point."""
    if not isfinite(value) or value == 0:
        return f"{value:g}"
    text = f"{value:,.{max(0, min(12, digits - 1 - floor(log10(abs(value)))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def pair(one: float, other: float, digits: int = 2) -> tuple[str, str]:
    """Write two numbers that differ so that one sees it."""
    while (shown := (number(one, digits), number(other, digits)))[0] == shown[1] and digits < 12 and one != other:
        digits += 1
    return shown
