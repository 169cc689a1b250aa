"""Measure a loaded model: the time of a window, and the memory of the process."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.clock import NS
from edged.models.schema import Input
from edged.stream.inference import Inference

_BUDGET_NS = 2 * NS
_MOST = 400
_KINDS = 8


@dataclass(frozen=True)
class Speed:
    """Milliseconds of processor time for one window, of so many; `finite` counts those with numbers as results."""

    p50_ms: float
    p95_ms: float
    windows: int
    finite: int


def measure(inference: Inference, given: Input) -> Speed:
    """Run pseudo-random windows one at a time, from preprocessing to the task's scores, for 2 s at most and at least once.

    Processor time is counted and not wall time: the trial gets what the daemon leaves over, and would be
    slow through no fault of the model. Runtimes run in the calling thread here, as in the daemon. (The clock of
    the whole process goes in ticks where it has a limit on processor time.)
    """
    windows = _windows(given.samples, len(given.channels))
    slots = np.zeros(1, np.intp)
    took: list[int] = []
    finite = 0
    until = time.monotonic_ns() + _BUDGET_NS
    while not took or (len(took) < _MOST and time.monotonic_ns() < until):
        window = windows[len(took) % _KINDS]
        start = time.thread_time_ns()
        scores = inference.scores(window, slots)
        took.append(time.thread_time_ns() - start)
        finite += bool(np.isfinite(scores).all())
    took.sort()
    return Speed(took[len(took) // 2] / 1e6, took[min(len(took) - 1, len(took) * 95 // 100)] / 1e6, len(took), finite)


def _windows(samples: int, channels: int) -> NDArray[np.float32]:
    """Make windows [kinds, 1, samples, channels]: half from -2 to 2, half from 0 to 1 for graphs that take a root or a logarithm."""
    noise = np.random.default_rng(1).random((_KINDS, 1, samples, channels), np.float32)
    noise[: _KINDS // 2] = noise[: _KINDS // 2] * 4 - 2
    return noise
