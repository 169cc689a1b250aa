"""The exact search behind the choice: of each group one item or none, so that two sums stay within their capacities.

Whole numbers throughout, so that the result is the same on every board and in every order. Dynamic programming: group by group
it keeps the part-solutions that no other equals in value, time and memory at once. Three things keep them few:

- a part-solution is let go when even its bound is below a solution that is known: each capacity has a price, and each
  remaining group takes its best item at these prices (Lagrangian relaxation; `prices.py`);
- what is so far below a capacity that nothing that remains can break it, is not compared;
- it begins narrow, which finds good solutions soon, and grows wider until nothing had to be left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from edged.select.prices import Item, prices_of

_NARROW, _WIDEST = 64, 1 << 15
_FEW = 1024  # combinations: to go through them takes less time than to look for prices

Taken: TypeAlias = "tuple[int | None, Taken] | None"  # the items taken so far, the last one first


class _State(NamedTuple):
    """A part-solution."""

    value: int
    time: int
    memory: int
    taken: Taken


@dataclass(frozen=True)
class _Stage:
    """One group, and what is known of all groups after it: their most time and memory, and their value at the prices."""

    group: list[tuple[int | None, Item]]
    rest_time: int
    rest_memory: int
    rest_value: int


@dataclass(frozen=True)
class Found:
    """The index of the item taken of each group, None where none is; `exact`: nothing better can be."""

    taken: list[int | None]
    exact: bool


def search(groups: Sequence[Sequence[Item]], time: int, memory: int) -> Found:
    """Find the highest sum of values within `time` and `memory`; of those the least time, then the least memory.

    Between solutions that are alike in all three the order of groups and items decides. Not exact only where part-solutions
    that no other equals are more than `_WIDEST`: many dozens of items whose values rise exactly as what they take.
    """
    order = _large_first(groups, time, memory)
    folded = _folded([groups[i] for i in order])
    few = prod(len(group) + 1 for group in groups) <= _FEW
    prices = (0, 0) if few else prices_of(folded, time, memory)
    stages = _stages(folded, prices)
    known, width = 0, _NARROW
    while True:
        state, exact = _sweep(stages, (time, memory), prices, known, width)
        if exact or width >= _WIDEST:
            break
        known, width = max(known, state.value), width * 8
    taken: list[int | None] = [None] * len(groups)
    chain = state.taken
    for i in reversed(order):
        assert chain is not None
        taken[i], chain = chain
    return Found(taken, exact)


def _large_first(groups: Sequence[Sequence[Item]], time: int, memory: int) -> list[int]:
    """Order the groups so that those whose items take most come first: what remains then soon fits in any case."""

    def largest(i: int) -> float:
        return max((item.time / (time + 1) + item.memory / (memory + 1) for item in groups[i]), default=0.0)

    return sorted(range(len(groups)), key=lambda i: -largest(i))


def _folded(groups: Sequence[Sequence[Item]]) -> list[list[Item]]:
    """Fold time and memory into the values, below their unit, so that the highest value is the best in every respect."""
    times = 1 + sum(max((item.time for item in group), default=0) for group in groups)
    memories = 1 + sum(max((item.memory for item in group), default=0) for group in groups)
    return [[Item((i.value * times - i.time) * memories - i.memory, i.time, i.memory) for i in group] for group in groups]


def _stages(groups: list[list[Item]], prices: tuple[int, int]) -> list[_Stage]:
    stages: list[_Stage] = []
    time = memory = value = 0
    for group in reversed(groups):
        stages.append(_Stage([*enumerate(group), (None, Item(0, 0, 0))], time, memory, value))
        time += max((item.time for item in group), default=0)
        memory += max((item.memory for item in group), default=0)
        value += max((0, *(item.net(prices) for item in group)))
    return stages[::-1]


def _sweep(stages: list[_Stage], capacity: tuple[int, int], prices: tuple[int, int], known: int, width: int) -> tuple[_State, bool]:
    """Go through all groups with at most `width` part-solutions; give the best, and whether none had to be left out."""
    (time, memory), exact = capacity, True
    slack = prices[0] * time + prices[1] * memory
    front = [_State(0, 0, 0, None)]
    for stage in stages:
        grown = [_add(state, number, item) for state in front for number, item in stage.group if state.time + item.time <= time]
        least = known - slack - stage.rest_value
        hopeful = [s for s in grown if s.memory <= memory and s.value - prices[0] * s.time - prices[1] * s.memory >= least]
        front = _undominated(hopeful, time - stage.rest_time, memory - stage.rest_memory)
        if len(front) > width:
            exact = False
            front = sorted(front, key=lambda s: prices[0] * s.time + prices[1] * s.memory - s.value)[:width]
    return max(front, key=attrgetter("value")), exact


def _add(state: _State, number: int | None, item: Item) -> _State:
    return _State(state.value + item.value, state.time + item.time, state.memory + item.memory, (number, state.taken))


def _undominated(states: list[_State], any_time: int, any_memory: int) -> list[_State]:
    """Keep the states that no other equals in all three; time up to `any_time` is as good as none, and so is memory.

    In the order of falling value, a state stays if it is under the staircase that those before it make: `times` rise, and
    at each `memories` has the least that one of at most that time takes.
    """
    kept: list[_State] = []
    times: list[int] = []
    memories: list[int] = []
    for state in sorted(states, key=attrgetter("value"), reverse=True):
        time, memory = max(state.time, any_time), max(state.memory, any_memory)
        at = bisect_right(times, time)
        if at and memories[at - 1] <= memory:
            continue
        kept.append(state)
        end = at = at - 1 if at and times[at - 1] == time else at
        while end < len(times) and memories[end] >= memory:
            end += 1
        times[at:end], memories[at:end] = [time], [memory]
    return kept
