"""Measure how fast this board reads from memory: one thread, and several at once. Reductions of numpy do not hold the GIL."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

_TURNS = 5
_LONGEST_NS = 300_000_000  # of one number of threads; a slow board takes fewer turns
_LARGE_MIB, _SMALL_MIB = 64, 16  # both beyond the caches of the boards that have so much memory


def bandwidth_gbs(cores: int, available_mib: float | None) -> dict[int, float]:
    """Give GB/s that all of so many threads together read, for 1, 2, 4 … and `cores` threads."""
    small = available_mib is not None and available_mib < 8 * _LARGE_MIB
    data = np.ones(((_SMALL_MIB if small else _LARGE_MIB) << 20) // 8, np.int64)
    counts = sorted({*(1 << i for i in range(cores.bit_length()) if 1 << i <= cores), max(cores, 1)})
    return {threads: _best(data, threads) for threads in counts}


def _best(data: NDArray[np.int64], threads: int) -> float:
    """Give the best of some turns; one thread alone is timed by its own processor time, so that other work disturbs little."""
    parts = np.array_split(data, threads)
    if threads == 1:
        return data.nbytes / _least(lambda: _alone_ns(data))
    with ThreadPoolExecutor(threads) as pool:
        return data.nbytes / _least(lambda: _together_ns(pool, parts))


def _least(turn: Callable[[], int]) -> int:
    until = time.monotonic_ns() + _LONGEST_NS
    least = turn()
    for _ in range(_TURNS - 1):
        if time.monotonic_ns() >= until:
            break
        least = min(least, turn())
    return least


def _alone_ns(data: NDArray[np.int64]) -> int:
    start = time.thread_time_ns()
    _read(data)
    return max(1, time.thread_time_ns() - start)


def _together_ns(pool: ThreadPoolExecutor, parts: list[NDArray[np.int64]]) -> int:
    start = time.monotonic_ns()
    list(pool.map(_read, parts))
    return max(1, time.monotonic_ns() - start)


def _read(data: NDArray[np.int64]) -> None:
    np.bitwise_or.reduce(data)
