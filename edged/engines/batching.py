"""Decide by measurement whether several windows in one call pay, and from how many on.

A dense net reads all its weights for each call, so 32 windows in one call cost little more than
one; a convolutional net is bound by arithmetic and gains nothing. The rule is deterministic given
the times: a batch must take at most three quarters of the time of as many single calls (measured
on x86_64: dense nets 0.25 to 0.45, nets of both kinds 0.5 to 0.7, convolutional nets 0.95 to 1.1). Near
that line the choice may differ from one start to the next; the results do not.

Processor time of the calling thread is measured, so that other work on a busy board, such as the
other pipelines at start, does not change the choice. The measurement is bounded: a batch that would
hold its thread for more than 8 ms is not tried, so all of it takes at most about 50 ms of processor
time, and mostly under 15. Slow nets stay at one window a call.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.clock import MS

SIZES = (32, 8)
LONGEST_NS = 8 * MS
_BUDGET_NS = 4 * MS
_RUNS = 20
_MARGIN = 0.75


def least_ns(run: Callable[[], object], cpu_ns: Callable[[], int]) -> int:
    """Give the least time of some calls of `run`, in nanoseconds: at most 20, none begun after 4 ms."""
    least = spent = 0
    for _ in range(_RUNS):
        start = cpu_ns()
        run()
        took = max(1, cpu_ns() - start)
        least = min(least or took, took)
        spent += took
        if spent >= _BUDGET_NS:
            break
    return least


def size_to_try(single_ns: int) -> int:
    """Give the batch size worth measuring for a net that takes `single_ns` a window; 1: none."""
    return next((size for size in SIZES if size * single_ns <= LONGEST_NS), 1)


def break_even(single_ns: int, batch_ns: int, size: int) -> int:
    """Give the least number of windows for which one call of `size`, padded, is quicker than single calls; 0: never use it."""
    if batch_ns > _MARGIN * size * single_ns:
        return 0
    return batch_ns // single_ns + 1
