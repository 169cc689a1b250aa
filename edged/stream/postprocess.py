"""From a model's raw output to the `output` of a result: scores, smoothing, threshold, alarm.

`Task.outputs` makes scores of many windows at once; `Task.finish` takes them one by one, in
the order of their stream, with the stream's `State`.

    classify  {"label": "running", "score": 0.93, "scores": {"stationary": 0.01, …}}
    anomaly   {"score": 9.71, "threshold": 12.3, "anomaly": false}
    regress   {"values": [21.4]}
    embed     {"vector": [0.12, …]}

Numbers are given to SIGNIFICANT digits, as many as a float32 holds for sure, and judged as
given: a consumer that compares `score` with `threshold` finds what `anomaly` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.models.schema import Manifest
from edged.stream.alarm import AlarmMemory, AlarmState
from edged.stream.smooth import Smoother, make_smoother
from edged.stream.tasks import make_scorer

SIGNIFICANT = 6
_FORMAT = f"%.{SIGNIFICANT}g"
MODEL_NAN = "model-nan"  # the reason by which a window without a verdict is counted as dropped

_Judged = tuple[dict[str, Any], Any, bool | None]  # output, what is told of besides the alarm, alarm


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a result says.

    `changed`: label, anomaly or alarm differ from the stream's last verdict; True for the first.
    `alarm`: whether it is on after this window; None where the model has none.
    """

    output: dict[str, Any]
    changed: bool
    alarm: bool | None


class Memory(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a later run needs of a stream's State; `scores` is the smoother's."""

    scores: bytes
    alarm: AlarmMemory | None
    told: tuple[str | bool | None, bool | None] | None


@dataclass(slots=True)
class State:
    """What one stream remembers between windows."""

    smoother: Smoother
    alarm: AlarmState | None
    told: tuple[Any, bool | None] | None = None

    def gap(self) -> None:
        """Forget scores from before a gap. An alarm that is on stays on until a score ends it."""
        self.smoother.clear()
        if self.alarm:
            self.alarm.gap()

    def dump(self) -> Memory:
        """Give what a later run needs to go on."""
        return Memory(self.smoother.dump(), self.alarm.dump() if self.alarm else None, self.told)

    def restore(self, memory: Memory, width: int) -> None:
        """Go on with what `dump` gave, in a new state; ValueError where it is none of a task with rows of `width` scores."""
        if (self.alarm is None) != (memory.alarm is None):
            raise ValueError("an alarm where there is none, or none where there is one")
        self.smoother.restore(memory.scores, width)
        if self.alarm and memory.alarm:
            self.alarm.restore(memory.alarm)
        self.told = memory.told


class Task:
    """What one release does with its model's output. Without state of its own; streams have a State each."""

    def __init__(self, manifest: Manifest) -> None:
        self._task = manifest.task
        self._output = manifest.output
        self._score = make_scorer(manifest)
        self._judge = {"classify": self._classify, "anomaly": self._anomaly, "regress": self._values, "embed": self._values}[manifest.task]

    def outputs(self, inputs: NDArray[np.float32], raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """Make scores of n windows.

        `inputs` [n, *in_shape] is what the model was given, after preprocessing; `raw`
        [n, *out_shape] what it gave. Gives float64 [n, labels] (classify), [n] (anomaly) or
        [n, values]. Raises PublisherError(`output-mismatch`).
        """
        return self._score(inputs, raw)

    def new_state(self) -> State:
        """Give the state for a new stream, or for a stream that a new release takes over."""
        alarm = self._output.alarm
        return State(make_smoother(self._output.smooth), AlarmState(alarm, self._output.anomalous == "below") if alarm else None)

    def finish(self, state: State, scores: NDArray[np.float64], end_ns: int) -> Verdict | None:
        """Judge the scores of one window, an element of what `outputs` gave, that ended at `end_ns`.

        None where a score is not finite: count the window as MODEL_NAN and publish nothing; the
        state is as before.
        """
        row = np.atleast_1d(scores)
        if not np.isfinite(row).all():
            return None
        output, told, alarm = self._judge(state, *state.smoother.add(row), end_ns)
        changed = state.told != (told, alarm)
        state.told = (told, alarm)
        return Verdict(output, changed, alarm)

    def _classify(self, state: State, row: NDArray[np.float64], leader: int, end_ns: int) -> _Judged:
        scores = dict(zip(self._output.labels, _short(row)))
        label = self._output.labels[leader]
        alarm = state.alarm.step(scores[self._output.alarm.label], end_ns) if state.alarm and self._output.alarm else None
        return {"label": label, "score": scores[label], "scores": scores}, label, alarm

    def _anomaly(self, state: State, row: NDArray[np.float64], leader: int, end_ns: int) -> _Judged:
        score = _short(row)[0]
        threshold = self._output.threshold
        assert threshold is not None  # rules of the manifest
        anomaly = score <= threshold if self._output.anomalous == "below" else score >= threshold
        alarm = state.alarm.step(score, end_ns) if state.alarm else anomaly
        return {"score": score, "threshold": threshold, "anomaly": anomaly}, anomaly, alarm

    def _values(self, state: State, row: NDArray[np.float64], leader: int, end_ns: int) -> _Judged:
        return {"vector" if self._task == "embed" else "values": _short(row)}, None, None


def make_task(manifest: Manifest) -> Task:
    """Make the Task of a release; PublisherError(`task-unsupported`) for tasks on text."""
    return Task(manifest)


def as_told(value: float) -> float:
    """Give a number as results tell it, to SIGNIFICANT digits."""
    return float(_FORMAT % value)


def _short(row: NDArray[np.float64]) -> list[float]:
    return [float(_FORMAT % value) for value in row.tolist()]
