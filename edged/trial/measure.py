"""Measure a loaded model: the time of a window or a text."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.clock import NS
from edged.models.schema import Input
from edged.stream.inference import Inference
from edged.stream.loaded import LoadedModel

_BUDGET_NS = 2 * NS
_MOST = 400
_KINDS = 8
_LETTERS = "etaoinshrdlu"
_THREAD_CLOCK = 0b110  # of one thread, as the scheduler counts it


@dataclass(frozen=True)
class Speed:
    """Milliseconds for one window or text, of so many runs; `finite` counts those with numbers as results."""

    p50_ms: float
    p95_ms: float
    runs: int
    finite: int


def measure_windows(inference: Inference, given: Input) -> Speed:
    """Run pseudo-random windows one at a time, from preprocessing to the task's scores, see `_measure`.

    Runtimes run in the calling thread here, as in the daemon. (The clock of the whole process goes in ticks where it has
    a limit on processor time.)
    """
    windows = _windows(given.samples, len(given.channels))
    slots = np.zeros(1, np.intp)
    return _measure(lambda i: bool(np.isfinite(inference.scores(windows[i], slots)).all()), time.thread_time_ns)


def measure_texts(model: LoadedModel, given: Input, threads: int) -> Speed:
    """Run pseudo-random texts one at a time, of an eighth of the longest to the longest that is taken, see `_measure`.

    A language model works with several threads, which wait for each other with the processor in hand: so what all of them
    took, divided by their number, is what one text takes.
    """
    texts = _texts(given.max_chars)
    slots = np.zeros(1, np.intp)
    return _measure(lambda i: _is_finite(model.scores(np.array([texts[i]], object), slots)), lambda: _busy_ns() // threads)


def _measure(run: Callable[[int], bool], clock_ns: Callable[[], int]) -> Speed:
    """Run kind after kind for 2 s at most and at least once; `run` says whether the result is of numbers.

    Processor time is counted and not wall time: the trial gets what the daemon leaves over, and would be
    slow through no fault of the model.
    """
    took: list[int] = []
    finite = 0
    until = time.monotonic_ns() + _BUDGET_NS
    while not took or (len(took) < _MOST and time.monotonic_ns() < until):
        start = clock_ns()
        finite += run(len(took) % _KINDS)
        took.append(clock_ns() - start)
    took.sort()
    return Speed(took[len(took) // 2] / 1e6, took[min(len(took) - 1, len(took) * 95 // 100)] / 1e6, len(took), finite)


def _windows(samples: int, channels: int) -> NDArray[np.float32]:
    """Make windows [kinds, 1, samples, channels]: half from -2 to 2, half from 0 to 1 for graphs that take a root or a logarithm."""
    noise = np.random.default_rng(1).random((_KINDS, 1, samples, channels), np.float32)
    noise[: _KINDS // 2] = noise[: _KINDS // 2] * 4 - 2
    return noise


def _texts(longest: int) -> list[str]:
    """Make a text of each length, of words of one to eight letters."""
    random = np.random.default_rng(1)
    letters = "".join(random.choice(list(_LETTERS), longest))
    spaces = np.cumsum(random.integers(2, 10, longest))
    text = list(letters)
    for i in spaces[spaces < longest - 1].tolist():
        text[i] = " "
    whole = "".join(text)
    return [whole[: max(1, longest * (i + 1) // _KINDS)] for i in range(_KINDS)]


def _is_finite(rows: Any) -> bool:
    return not isinstance(rows, np.ndarray) or bool(np.isfinite(rows).all())  # what is written is of words


def _busy_ns() -> int:
    """Give the processor time of all threads of this process: each has a clock of its own, see clock_getcpuclockid in glibc."""
    return sum(time.clock_gettime_ns(~int(thread) << 3 | _THREAD_CLOCK) for thread in os.listdir("/proc/self/task"))
