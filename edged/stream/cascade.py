"""Several loaded models as one: cheap ones first, each asked with what those before it were not sure of.

    ask a stage → accept what it is sure of → the rest to the next, as far as its budget goes → band

    accept     a stage was sure
    escalate   none was, and a person or a bigger system is asked
    abstain    none was, and nobody is asked

What a stage has no budget for goes no further: what the stages before said stands. A stage that fails is
passed by. Where none was sure, the surest is believed: a later one is not always the better one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.clock import Clock
from edged.errors import BoardError, EdgedError, PublisherError
from edged.models.manifest import Manifest
from edged.stream.budget import Budget
from edged.stream.loaded import Fault, LoadedModel
from edged.stream.postprocess import MODEL_NAN, State, Verdict, as_told, make_task

ACCEPT, ESCALATE, ABSTAIN = "accept", "escalate", "abstain"
OVER_BUDGET = "over-budget"  # the reason by which an input is counted as dropped that the first stage had no budget for


@dataclass
class Counts:
    """Inputs of one stage since it was loaded: it was asked, was sure, had no budget left for, did not answer."""

    asked: int = 0
    accepted: int = 0
    over_budget: int = 0
    failed: int = 0


@dataclass
class LoadedStage:
    """One stage: its name in the release, the model that answers, the least score that is believed, how often it may be asked."""

    name: str
    model: LoadedModel
    accept: float
    budget: Budget
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a cascade says of one input: the scores [labels] of the surest stage, those that answered, whether the last of them was sure."""

    scores: NDArray[np.float64]
    path: tuple[str, ...]
    sure: bool


class CascadeInference:
    """The cascade of a release: a `LoadedModel`."""

    def __init__(self, manifest: Manifest, stages: Sequence[LoadedStage], chosen: LoadedModel, clock: Clock, escalates: bool) -> None:
        """`chosen` is the stage that results are named by; `escalates`: somebody can be asked what no stage is sure of.

        Raises PublisherError(`cascade-does-not-fit`); the stages are then still the caller's.
        """
        assert manifest.cascade is not None
        for stage in stages:
            _hold_together(manifest, stage)
        self.manifest = manifest
        self.stages = tuple(stages)
        self.bands = dict.fromkeys((ACCEPT, ESCALATE, ABSTAIN), 0)  # results since it was loaded
        self.model, self.build = chosen.model, chosen.build
        self.at_once = min(stage.model.at_once for stage in stages)
        self._task = make_task(manifest)
        self.new_state: Callable[[], State] = self._task.new_state
        self._fault: Fault = lambda error: None
        self._questions = Budget(manifest.cascade.per_hour, clock) if escalates else None

    @property
    def values(self) -> int:
        """Give how many scores there are."""
        return len(self.manifest.output.labels)

    def watch(self, progress: Callable[[], None], fault: Fault) -> None:
        """Have `progress` called while a stage is at work, and `fault` where one fails and others stand in for it."""
        self._fault = fault
        for stage in self.stages:
            stage.model.watch(progress, fault)

    def scores(self, inputs: NDArray[Any], slots: NDArray[np.intp]) -> list[Answer | str]:
        """Ask the stages in turn; give an answer for each input, or the reason why no stage gave one."""
        answers: list[Answer | str] = [OVER_BUDGET] * len(inputs)
        left = np.arange(len(inputs))
        for stage in self.stages:
            granted = stage.budget.take(len(left))
            stage.counts.over_budget += len(left) - granted
            left = left[:granted]
            if not granted:
                break
            left = left[self._ask(stage, inputs[left], slots[left], left.tolist(), answers)]
        return answers

    def verdict(self, state: State, row: Answer | str, end_ns: int) -> Verdict | str:
        """Judge one answer as every classification, and say its path and band; the reason that is counted where it is none."""
        if isinstance(row, str):
            return row
        verdict = self._task.finish(state, row.scores, end_ns)
        if verdict is None:
            return MODEL_NAN
        band = ACCEPT if row.sure else ESCALATE if self._questions is not None and self._questions.take(1) else ABSTAIN
        self.bands[band] += 1
        verdict.output["path"] = list(row.path)
        verdict.output["band"] = band
        return verdict

    def lost(self) -> dict[str, EdgedError]:
        """Give the stages whose process failed again and again; the others go on without them."""
        return {stage.name: error for stage in self.stages for error in stage.model.lost().values()}

    def mib(self) -> float:
        """Give the memory (PSS) of the processes of all stages."""
        return sum(stage.model.mib() for stage in self.stages)

    def forget(self, slot: int) -> None:
        """Do nothing: no stage keeps anything of a stream."""

    def close(self) -> None:
        """Give the memory of all stages back."""
        with ExitStack() as closing:  # all of them, whatever one raises
            for stage in self.stages:
                closing.callback(stage.model.close)

    def _ask(
        self, stage: LoadedStage, inputs: NDArray[Any], slots: NDArray[np.intp], places: list[int], answers: list[Answer | str]
    ) -> NDArray[np.bool_]:
        """Ask one stage, and put what it says into its places of `answers`; give which of the inputs go on to the next."""
        stage.counts.asked += len(inputs)
        try:
            rows = stage.model.scores(inputs, slots)
        except BoardError as error:
            stage.counts.failed += len(inputs)
            self._fault(error)
            for place in places:
                if isinstance(answers[place], str):
                    answers[place] = error.code
            return np.ones(len(inputs), np.bool_)
        unsure = np.ones(len(inputs), np.bool_)
        for i, (place, row) in enumerate(zip(places, rows)):
            before = answers[place]
            if isinstance(before, str) or np.isfinite(row).all():
                sure = as_told(row.max()) >= stage.accept  # as the result tells it; what is not a number is not sure
                path, scores = ((), row) if isinstance(before, str) else (before.path, before.scores)
                surest = row if sure or not scores.max() > row.max() else scores
                answers[place] = Answer(surest, (*path, stage.name), sure)
                unsure[i] = not sure
        stage.counts.accepted += len(inputs) - int(unsure.sum())
        return unsure


def _hold_together(manifest: Manifest, stage: LoadedStage) -> None:
    """Refuse a stage that cannot stand in for the others."""
    other = stage.model.manifest
    given, taken = manifest.input, other.input
    if given.stateful or taken.stateful:
        fault = "its graph keeps state between windows, and a stage does not see all of them"
    elif other.task != "classify" or other.output.labels != manifest.output.labels:
        fault = "it does not classify by the same labels in the same order"
    elif taken.kind != given.kind:
        fault = f"it takes the input kind {taken.kind}, and the cascade {given.kind}"
    elif (taken.channels, taken.samples) != (given.channels, given.samples):
        fault = "it takes windows of other channels or another length"
    else:
        return
    text = f"{manifest.name} cannot use `{stage.name}` as a stage of its cascade: {fault}"
    raise PublisherError("cascade-does-not-fit", text, "name another variant or model in [cascade]")
