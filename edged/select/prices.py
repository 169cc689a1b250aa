"""Prices of time and memory at which the best that each group could take, freely, says most about what is possible at all.

At any prices, the best item of each group with its time and memory paid for, plus the price of both capacities, is at least
the value of the best solution. The lowest such bound is searched: for a price of time the best price of memory by halving,
and the price of time by golden section, as the bound is convex in both. Prices that miss it make the search longer, not wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

_FINE = 1e-4  # of the power of two
_GOLDEN = (5**0.5 - 1) / 2


class Item(NamedTuple):
    """What taking it is worth, and what it takes; whole numbers, time and memory not negative."""

    value: int
    time: int
    memory: int

    def net(self, prices: tuple[int, int]) -> int:
        """Give its value less what its time and memory cost."""
        return self.value - prices[0] * self.time - prices[1] * self.memory


def prices_of(groups: Sequence[Sequence[Item]], time: int, memory: int) -> tuple[int, int]:
    """Give the prices of a unit of time and of memory."""
    filled = [[(float(item.value), float(item.time), float(item.memory)) for item in group] for group in groups if group]
    if not filled:
        return 0, 0
    top = max(item.value for group in groups for item in group).bit_length() + 1.0  # at 2**top nothing is worth a unit

    def paid(price: float) -> tuple[float, float, float]:
        """Give the lowest bound at this price of time, and both prices."""
        nets = [[(value - price * time_, memory_) for value, time_, memory_ in group] for group in filled]
        second = _memory_price(nets, float(memory), top)
        free = sum(max(0.0, max(net - second * memory_ for net, memory_ in group)) for group in nets)
        return price * time + second * memory + free, price, second

    _, first, second = min(paid(0.0), _golden(paid, top))
    return int(first), int(second)


def _memory_price(nets: list[list[tuple[float, float]]], memory: float, top: float) -> float:
    """Give the least price at which what each group takes first stays within the memory."""

    def is_over(price: float) -> bool:
        best = (max((net - price * size, -size) for net, size in group) for group in nets)
        return sum(-minus for net, minus in best if net > 0) > memory

    if not is_over(0.0):
        return 0.0
    low, high = 0.0, top
    while high - low > _FINE:
        middle = (low + high) / 2
        low, high = (middle, high) if is_over(2.0**middle) else (low, middle)
    return float(2.0**high)


def _golden(paid: Callable[[float], tuple[float, float, float]], top: float) -> tuple[float, float, float]:
    """Give the lowest of `paid` between prices 1 and 2**top, looked for by the power of two."""
    low, high = 0.0, top
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = paid(2.0**left), paid(2.0**right)
    while high - low > _FINE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = paid(2.0**left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = paid(2.0**right)
    return min(at_left, at_right)
