"""Measure a loaded model: the time of a window or a text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Speed:
    """Milliseconds for one window or text, of so many runs; `finite` counts those with numbers as results."""

    p50_ms: float
    p95_ms: float
    runs: int
    finite: int


def measure_windows(inference: Inference, given: Input) -> Speed:
    """Run pseudo-random windows one at a time, from preprocessing to the task's scores, see `_measure`."""
    windows = _windows(given.samples, len(given.channels))
    slots = np.zeros(1, np.intp)
    return _measure(lambda i: bool(np.isfinite(inference.scores(windows[i], slots)).all()))


def measure_texts(model: LoadedModel, given: Input, speedup: float) -> Speed:
    """Run pseudo-random texts one at a time, of an eighth of the longest to the longest that is taken, see `_measure`.

    The times are for what serves, which is `speedup` times as fast as this one thread.
    """
    texts = _texts(given.max_chars)
    slots = np.zeros(1, np.intp)
    alone = _measure(lambda i: _is_finite(model.scores(np.array([texts[i]], object), slots)))
    return replace(alone, p50_ms=alone.p50_ms / speedup, p95_ms=alone.p95_ms / speedup)


def _measure(run: Callable[[int], bool]) -> Speed:
    """Run kind after kind for 2 s at most and at least once; `run` says whether the result is of numbers.

    Processor time is counted and not wall time: the trial gets what the daemon leaves over, and would be
    slow through no fault of the model. Runtimes run in the calling thread here, as windows do in the daemon. (The clock of
    the whole process goes in ticks where it has a limit on processor time.)
    """
    took: list[int] = []
    finite = 0
    until = time.monotonic_ns() + _BUDGET_NS
    while not took or (len(took) < _MOST and time.monotonic_ns() < until):
        start = time.thread_time_ns()
        finite += run(len(took) % _KINDS)
        took.append(time.thread_time_ns() - start)
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
