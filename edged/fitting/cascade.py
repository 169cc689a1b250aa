"""Thresholds of a cascade, so that what it accepts is right often enough, with a stated bound; pure.

Labelled rows are parted in two halves. The first proposes: a ladder of cascades, from strict to lenient,
each of which takes at every stage the lowest threshold at which the rows accepted there were right as often
as its rung asks. The second decides: beginning with the rung that the first half favours most, and going down,
each cascade is held to the target by an exact binomial test, until one fails; the last that passed is taken.
As the order does not depend on the second half, no correction for many tests is needed: fixed-sequence testing
(Maurer et al. 1995), with the sequence from a split of the data (Angelopoulos et al. 2021, "Learn then test").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.fitting.bounds import least_rows, lower_bound, rows_for, tail

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NOTHING = 1.0  # the threshold of a stage that is to accept nothing
_RUNGS = 101


@dataclass(frozen=True)
class StageAnswers:
    """What one stage says of n rows: the leading label's score, as results give it, and whether the label is right."""

    name: str
    scores: Floats
    right: Bools

    def of(self, rows: Bools) -> StageAnswers:
        """Give the answers to some rows."""
        return StageAnswers(self.name, self.scores[rows], self.right[rows])


@dataclass(frozen=True)
class Outcome:
    """What a cascade with these thresholds does with rows. `asked` and `taken` are counted for each stage."""

    accept: tuple[float, ...]
    rows: int
    asked: tuple[int, ...]
    taken: tuple[int, ...]
    right: int

    @property
    def accepted(self) -> int:
        """Count the rows that a stage was sure of."""
        return sum(self.taken)

    @property
    def coverage(self) -> float:
        """Give the part of the rows that is accepted."""
        return self.accepted / self.rows if self.rows else 0.0

    @property
    def accuracy(self) -> float | None:
        """Give the part of the accepted rows that is right; None where none is accepted."""
        return self.right / self.accepted if self.accepted else None

    def at_least(self, delta: float) -> float:
        """Give the lower bound of the accuracy, as of one test."""
        return lower_bound(self.right, self.accepted, delta)


@dataclass(frozen=True)
class Fitted:
    """The cascade that was found, judged on the second half, and all that were proposed, from strict to lenient.

    `reached`: the target is kept with the confidence asked for. Where it is not, all stages accept NOTHING.
    `needed`: where it is not reached, the labelled rows, both halves together, that would show it, as far as these
    tell; None: at no threshold are the stages right that often, so that more rows would hardly help.
    """

    chosen: Outcome
    reached: bool
    needed: int | None
    proposed: tuple[Outcome, ...]


def run_cascade(stages: Sequence[StageAnswers], accept: Sequence[float]) -> Outcome:
    """Ask one stage after the other, each about the rows that none before was sure of."""
    rows = len(stages[0].scores)
    left = np.ones(rows, np.bool_)
    asked, taken, right = [], [], 0
    for stage, least in zip(stages, accept):
        asked.append(int(left.sum()))
        sure = left & (stage.scores >= least)
        taken.append(int(sure.sum()))
        right += int(stage.right[sure].sum())
        left &= ~sure
    return Outcome(tuple(accept), rows, tuple(asked), tuple(taken), right)


def fit_cascade(first: Sequence[StageAnswers], second: Sequence[StageAnswers], target: float, confidence: float) -> Fitted:
    """Find thresholds; `first` and `second` are the stages' answers to the two halves, in the order they are asked."""
    delta = 1.0 - confidence
    ladder = list(dict.fromkeys(_propose(first, rung) for rung in np.linspace(1.0, max(0.0, 2 * target - 1.0), _RUNGS).tolist()))
    before = [run_cascade(first, accept) for accept in ladder]
    proposed = [run_cascade(second, accept) for accept in ladder]
    begin = min(range(len(ladder)), key=lambda i: tail(before[i].right, before[i].accepted, target))
    chosen = None
    for outcome in proposed[begin:]:
        if tail(outcome.right, outcome.accepted, target) > delta:
            break
        chosen = outcome
    if chosen is not None:
        return Fitted(chosen, True, None, tuple(proposed))
    needed = _needed([*zip(before, proposed)], target, delta)
    return Fitted(run_cascade(second, [NOTHING] * len(second)), False, needed, tuple(proposed))


def _propose(stages: Sequence[StageAnswers], rung: float) -> tuple[float, ...]:
    """Give for each stage the lowest threshold at which the rows accepted there are right in the part `rung`."""
    left = np.ones(len(stages[0].scores), np.bool_)
    accept = []
    for stage in stages:
        accept.append(_lowest(stage.scores[left], stage.right[left], rung))
        left &= stage.scores < accept[-1]
    return tuple(accept)


def _lowest(scores: Floats, right: Bools, rung: float) -> float:
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(descending[1:] != descending[:-1], True)[: len(order)]  # equal scores are accepted together
    kept = np.flatnonzero((accuracy >= rung) & last_of_equals)
    return float(descending[kept[-1]]) if len(kept) else NOTHING


def _needed(both: Sequence[tuple[Outcome, Outcome]], target: float, delta: float) -> int | None:
    """Say how many rows would do, by the proposal that needs least, given what each came to in both halves."""
    numbers = []
    for first, second in both:
        rows, accepted = first.rows + second.rows, first.accepted + second.accepted
        # The middle of what such counts say (Jeffreys): a few rows without an error promise no accuracy of 1.
        enough = rows_for(target, delta, (first.right + second.right + 0.5) / (accepted + 1))
        numbers += [round(2 * enough * rows / accepted)] if enough is not None and accepted else []
    return max(min(numbers), 2 * least_rows(target, delta)) if numbers else None
