"""A day of adaptation on a simulated board: it does not flap, does not run out of memory, and gets back what it gave up."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from tests.adapting import BEST, DAY, HOUR, Board

SEEDS = [1, 2]
MOST_CHANGES = 20  # in 24 hours: the ways up that are taken back double their dwell from 5 minutes to 6 hours


@pytest.mark.parametrize("seed", SEEDS)
def test_a_day_of_noise_changes_nothing(seed: int) -> None:
    board = Board(seed=seed, noise=0.1, others_mib=lambda s: 100 + 60 * math.sin(s / 700), ambient_c=day(18, 8), rate_by=day(1.0, 0.1))
    board.run(DAY)
    assert board.steps == []
    assert not board.ran_out


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_a_day_of_noise_at_the_very_edge_of_memory_does_not_flap(seed: int) -> None:
    # With its best variants the board has 1,800 - 350 - 950 = 500 MiB left; at 372 MiB of others it is under pressure.
    board = Board(seed=seed, noise=0.1, others_mib=walk(seed, 300, 440))
    board.run(DAY)
    assert 1 <= len(board.steps) <= MOST_CHANGES
    assert not board.ran_out


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_a_day_of_heat_at_the_edge_does_not_flap_and_ends_where_it_began(seed: int) -> None:
    board = Board(seed=seed, noise=0.05, ambient_c=day(30, 14), rate_by=lambda _s: 1.2)
    board.run(DAY)
    assert 2 <= len(board.steps) <= MOST_CHANGES
    assert set(board.causes) <= {"heat", "throttled", "relief"}
    assert board.running == BEST


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_does_not_run_out_where_it_would_without_a_change(seed: int) -> None:
    others = greedy(seed)
    board, fixed = Board(seed=seed, noise=0.05, others_mib=others), Board(seed=seed, noise=0.05, others_mib=others, adaptive=False)
    fixed.run_until(lambda: fixed.ran_out, DAY)
    board.run(DAY)
    assert not board.ran_out
    assert "memory-pressure" in board.causes
    board.others_mib = lambda _s: 0.0
    board.run(6.5 * HOUR)
    assert board.running == BEST


def day(mean: float, swing: float) -> Callable[[float], float]:
    """A curve with its peak in the middle of the day."""
    return lambda s: mean - swing * math.cos(2 * math.pi * s / DAY)


def walk(seed: int, low: float, high: float) -> Callable[[float], float]:
    """Give a walk at random between two bounds, with a step every five seconds."""
    rng = random.Random(seed)
    values = [(low + high) / 2]
    for _ in range(DAY // 5 + 1):
        values.append(min(high, max(low, values[-1] + rng.gauss(0, 4))))
    return lambda s: values[int(s) // 5]


def greedy(seed: int) -> Callable[[float], float]:
    """Give other programs that take up to 900 MiB now and then, 10 MiB a second at most, and let go of it at once."""
    rng = random.Random(seed)
    starts = sorted(rng.uniform(0, DAY - 3 * HOUR) for _ in range(5))
    peaks = [(start, rng.uniform(700, 900), rng.uniform(1, 10), rng.uniform(0.2, 1) * HOUR) for start in starts]
    return lambda s: max((min(peak, (s - start) * rate) for start, peak, rate, length in peaks if start <= s < start + length), default=0.0)
