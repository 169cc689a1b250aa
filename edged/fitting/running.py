"""Run a variant over labelled rows: what it answers, how long it takes alone and in batches, what memory it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.clock import NS
from edged.models.manifest import Release, Variant
from edged.pss import pss_mib
from edged.stream.loaded import LoadedModel
from edged.stream.loading import OpenEngine, load_variant

_ALONE = 200  # inputs that are timed one by one
_ALONE_NS = 5 * NS
_LEAST = 3

Say = Callable[[str, int, int], None]  # variant, rows that are done, of so many


@dataclass(frozen=True)
class Ran:
    """What a variant did with n inputs.

    scores    float64 [n, labels], or [n] of task anomaly, at temperature 1; NaN where the model gave no number
    alone_ms  float64: milliseconds of single inputs, of up to 200 of them
    per_s     inputs a second, in calls of as many as pay
    mib       memory of the process that runs it, or what this process grew by
    """

    scores: NDArray[np.float64]
    alone_ms: NDArray[np.float64]
    per_s: float
    mib: float
    load_ms: float
    runtime: str

    @property
    def p50_ms(self) -> float:
        """Give the middle of the times of single inputs."""
        return float(np.median(self.alone_ms))


def run_variant(release: Release, variant: Variant, inputs: NDArray[Any], open_engine: OpenEngine, say: Say) -> Ran:
    """Load a variant, run inputs [n >= 1] through it, and close it. Raises what loading and running it raise."""
    opened: list[Any] = []

    def opening(*args: Any, **options: Any) -> Any:
        opened.append(open_engine(*args, **options))
        return opened[-1]

    before, start = pss_mib(), time.perf_counter_ns()
    model = load_variant(release, msgspec.structs.replace(variant, temperature=1.0), opening)
    load_ms = (time.perf_counter_ns() - start) / 1e6
    try:
        scores, took_ns = _run(model, inputs, say)
        alone_ms = _alone(model, inputs)
        own = getattr(opened[0], "mib", lambda: 0.0)()  # engines for numbers run in this process, and have none
        mib = own or max(0.0, pss_mib() - before)
    finally:
        model.close()
    return Ran(scores, alone_ms, len(inputs) * NS / max(1, took_ns), mib, load_ms, str(model.build))


def _run(model: LoadedModel, inputs: NDArray[Any], say: Say) -> tuple[NDArray[np.float64], int]:
    """Give the scores of all inputs, and the nanoseconds they took."""
    parts, took = [], 0
    for start in range(0, len(inputs), model.at_once):
        say(model.model.variant, start, len(inputs))
        part = inputs[start : start + model.at_once]
        before = time.perf_counter_ns()
        with np.errstate(all="ignore"):
            parts.append(np.asarray(model.scores(part, np.zeros(len(part), np.intp)), np.float64))
        took += time.perf_counter_ns() - before
    say(model.model.variant, len(inputs), len(inputs))
    return np.concatenate(parts), took


def _alone(model: LoadedModel, inputs: NDArray[Any]) -> NDArray[np.float64]:
    """Time single inputs, spread over all of them, for some seconds at most."""
    chosen = np.unique(np.linspace(0, len(inputs) - 1, _ALONE).astype(np.intp)).tolist()
    slots, took = np.zeros(1, np.intp), []
    until = time.monotonic_ns() + _ALONE_NS
    for i in chosen:
        start = time.perf_counter_ns()
        with np.errstate(all="ignore"):
            model.scores(inputs[i : i + 1], slots)
        took.append((time.perf_counter_ns() - start) / 1e6)
        if len(took) >= _LEAST and time.monotonic_ns() > until:
            break
    return np.array(took)
