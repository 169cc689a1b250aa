"""A firmware's clock, its sensor and the way of its frames to the board, simulated: what comes when, and the truth.

    python -m tests.ticking --seeds 3

prints how far the times that `firmware_bridge.stamps` gives are from the truth, for many rates, blocks and lines, and what a block costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.stamps import Stamps

NS = 1_000_000_000
WRAP = 1 << 32
_ANSWER_NS = 40_000  # what the firmware takes to answer a question

Exchange = tuple[int, int, int, int]


@dataclass(frozen=True)
class Setup:
    """One firmware on one line. `rate_hz` is what it says; truth is off by `rate_off`, its clock by `drift`."""

    rate_hz: float
    count: tuple[int, int]  # readings in a block, from and to
    seconds: float
    jitter_ms: float = 1.0  # how late the reader wakes after bytes came: exponential, by this mean
    delay_ms: float = 0.5  # on the line, each way,
    slow: tuple[float, float, float] = (0.0, 0.0, 0.0)  # and from one second to another so many ms more
    drift: float = 0.0
    rate_off: float = 0.0
    lost: float = 0.0  # part of blocks that do not come
    wrong: float = 0.0  # part of blocks whose tick is too far on,
    wrong_s: tuple[float, float] = (0.03, 2000.0)  # by so much
    tick_hz: float = 1e6
    first_tick: int = 0
    asked: bool = True  # whether TIME questions are: one a second for a minute, then one in ten seconds
    swing: float = 0.0  # how far the drift swings to both sides, within ten minutes


@dataclass
class Seen:
    """What was given for each block that came, next to the truth. Times in ns, steps in true periods."""

    truth: NDArray[np.float64]  # of the last reading
    error: NDArray[np.float64]  # of the time given for it
    step: NDArray[np.float64]  # between its readings; 1 where there is one
    step_before: NDArray[np.float64]  # from the last reading of the block before to its first
    missing: NDArray[np.int64]  # readings that were lost before it
    right: NDArray[np.bool_]  # its tick is
    stamps: Stamps
    cost_us: float  # of the processor, for each block

    def late_errors(self, after_s: float = 60.0) -> NDArray[np.float64]:
        """Give the size of errors, in ns, of the blocks with a right tick, once it has learned for so long."""
        return np.abs(self.error[(self.truth > self.truth[0] + after_s * NS) & self.right])

    def even_steps(self) -> NDArray[np.float64]:
        """Give all steps where nothing is missing. How far the first block's are off is that of the nominal rate."""
        return np.concatenate((self.step[1:], self.step_before[1:][self.missing[1:] == 0]))

    def holes(self) -> NDArray[np.float64]:
        """Give the steps over missing readings, as parts of what they truly are."""
        step, missing = self.step_before[1:], self.missing[1:]
        return step[missing > 0] / (missing[missing > 0] + 1)


def run(setup: Setup, seed: int) -> Seen:
    """Let a firmware run, and stamp what comes of it."""
    dice = np.random.default_rng(seed)
    start = 10**13 + int(dice.integers(10**12))
    period = NS / (setup.rate_hz * (1 + setup.rate_off))
    counts = _counts(setup, period, dice)
    truth = start + np.cumsum(counts) * period
    wrong = dice.random(len(counts)) < setup.wrong
    too_far = np.exp(dice.uniform(*np.log(setup.wrong_s), len(counts))) * setup.tick_hz
    ticks = _ticks(setup, truth, start) + np.where(wrong, too_far, 0).astype(np.int64)
    here = dice.random(len(counts)) >= setup.lost
    blocks = list(zip(ticks.tolist(), counts.tolist(), _arrivals(setup, truth, start, dice), here.tolist()))
    stamps = Stamps(setup.tick_hz, setup.rate_hz)
    begun = time.process_time()
    given = np.array(list(_stamp(stamps, blocks, list(_exchanges(setup, start, dice)))))
    cost = (time.process_time() - begun) / len(given) * 1e6
    first, last, missing = given[:, 0], given[:, 1], given[:, 2]
    steps = np.where(counts[here] > 1, (last - first) / np.maximum(counts[here] - 1, 1) / period, 1.0)
    before = np.concatenate(([1.0], (first[1:] - last[:-1]) / period))
    return Seen(truth[here], last - truth[here], steps, before, missing, ~wrong[here], stamps, cost)


def _counts(setup: Setup, period: float, dice: np.random.Generator) -> NDArray[np.int64]:
    total = setup.seconds * NS / period
    counts = dice.integers(setup.count[0], setup.count[1] + 1, size=int(total / setup.count[0]) + 1)
    return counts[: int(np.searchsorted(np.cumsum(counts), total)) + 1]


def _ticks(setup: Setup, truth: NDArray[np.float64], start: int) -> NDArray[np.int64]:
    passed = (truth - start) / NS
    swing = setup.swing * 600 / (2 * np.pi) * np.sin(2 * np.pi * passed / 600)
    return np.floor((passed * (1 + setup.drift) + swing) * setup.tick_hz).astype(np.int64) + setup.first_tick


def _on_line(setup: Setup, passed_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    begin, end, more_ms = setup.slow
    return (setup.delay_ms + np.where((passed_ns >= begin * NS) & (passed_ns < end * NS), more_ms, 0.0)) * 1e6


def _arrivals(setup: Setup, truth: NDArray[np.float64], start: int, dice: np.random.Generator) -> list[int]:
    """The reader wakes some time after the first byte that waits, and gets all that has come by then."""
    arrivals, now = [], 0.0
    there = truth + _on_line(setup, truth - start)
    for there_ns, late in zip(there.tolist(), dice.exponential(setup.jitter_ms * 1e6, len(truth)).tolist()):
        if there_ns > now:
            now = there_ns + late
        arrivals.append(int(now))
    return arrivals


def _exchanges(setup: Setup, start: int, dice: np.random.Generator) -> Iterator[Exchange]:
    if not setup.asked:
        return
    sent = start + np.concatenate((np.arange(0.5, 60, 1.0), np.arange(60.0, max(60.0, setup.seconds), 10.0))) * NS
    sent = sent[sent < start + setup.seconds * NS]
    ways = _on_line(setup, sent - start) + dice.exponential(setup.jitter_ms * 1e6, (2, len(sent)))
    taken = sent + ways[0]
    came = taken + _ANSWER_NS + ways[1]
    ticks_in, ticks_out = _ticks(setup, taken, start), _ticks(setup, taken + _ANSWER_NS, start)
    yield from zip(sent.astype(np.int64).tolist(), ticks_in.tolist(), ticks_out.tolist(), came.astype(np.int64).tolist())


def _stamp(stamps: Stamps, blocks: list[tuple[int, int, int, bool]], exchanges: list[Exchange]) -> Iterator[tuple[int, int, int]]:
    """Give for each block that is not lost the times of its first and last reading, and how many readings are missing before it."""
    exchanges = sorted(exchanges, key=lambda each: each[3])
    done = missing = 0
    for ticks, count, came_ns, is_here in blocks:
        while done < len(exchanges) and exchanges[done][3] <= came_ns:
            exchange(stamps, *exchanges[done])
            done += 1
        if not is_here:
            missing += count
            continue
        first, last = stamps.block(ticks % WRAP, count, not missing, came_ns)
        yield first, last, missing
        missing = 0


def exchange(stamps: Stamps, sent_ns: int, ticks_in: int, ticks_out: int, came_ns: int) -> None:
    """Tell of a TIME exchange, as a link does."""
    fit = stamps.fit
    fit.exchanged(sent_ns, fit.unwrap(ticks_in % WRAP, came_ns), fit.unwrap(ticks_out % WRAP, came_ns), came_ns)


_BLOCKS = ((1, 1), (20, 20), (100, 100), (1, 100))
_MOST_BLOCKS = 250_000  # in one run: a minute of the quickest


def _print_table(seeds: int, minutes: float) -> None:
    """Print a line for each rate, block and jitter: over both signs of both drifts, of the rate, and so many seeds."""
    print(f"at most {minutes:g} minutes, drift ±200 ppm and ±2 %, true rate ±8 % off, 1 % of blocks lost, seeds 0 to {seeds - 1}")
    print("errors after one minute; steps where nothing is missing; holes as parts of what is missing")
    print("rate Hz  readings  jitter ms   p50 ms   p99 ms   max ms  max periods   steps        holes        us/block")
    for rate, count, jitter in product((26, 104, 416, 1660, 4000), _BLOCKS, (0.5, 5.0)):
        seconds = min(minutes * 60, max(_MOST_BLOCKS * sum(count) / 2 / rate, 90.0))
        basic = Setup(rate, count, seconds, jitter, lost=0.01)
        runs = [
            run(replace(basic, drift=drift, rate_off=off), seed)
            for drift, off, seed in product((2e-4, -2e-4, 0.02, -0.02), (0.08, -0.08), range(seeds))
        ]
        errors = np.concatenate([each.late_errors() for each in runs]) / 1e6
        steps = np.concatenate([each.even_steps() for each in runs])
        holes = np.concatenate([each.holes() for each in runs])
        print(
            f"{rate:7} {f'{count[0]}–{count[1]}':>9} {jitter:10.1f}"
            f" {np.median(errors):8.3f} {np.percentile(errors, 99):8.3f} {errors.max():8.3f} {errors.max() / 1e3 * rate:12.2f}"
            f"   {steps.min():.2f}…{steps.max():.2f}   {holes.min():.2f}…{holes.max():.2f}"
            f" {sum(each.cost_us for each in runs) / len(runs):10.1f}",
            flush=True,
        )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--minutes", type=float, default=15.0)
    arguments = options.parse_args()
    _print_table(arguments.seeds, arguments.minutes)
