"""Fit one classifier of texts, and measure it on rows that are held out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edged.errors import OperatorError
from edged.fitting.bounds import interval
from edged.fitting.learners import Floats, Ints, Learner, Sample, Say
from edged.fitting.logistic import Arrays
from edged.fitting.metrics import calibration_error, fit_temperature, scores_of
from edged.fitting.split import part_rows, same_words

CONFIDENCE = 0.95
_FOLDS = 5
HELD_OUT = 0  # the part of rows that are


class Measured(msgspec.Struct, frozen=True):
    """A variant on the held-out rows. `interval` holds the accuracy for texts to come with 95 %; equal texts count once for it."""

    variant: str
    engine: str
    right: int
    rows: int
    accuracy: float
    interval: tuple[float, float]
    ece: float
    temperature: float
    seconds: float


@dataclass(frozen=True)
class Fit:
    """A variant's measure, and its final weights."""

    learner: Learner
    measured: Measured
    arrays: Arrays


@dataclass(frozen=True)
class Split:
    """Which rows, as indices, are fitted on while it is measured, and which are held out."""

    fitted: Ints
    held_out: Ints


def split_sample(sample: Sample, holdout: float, seed: int) -> Split:
    """Hold out about the part `holdout` of each label's rows; OperatorError(`data-too-few`) where that leaves nothing to measure."""
    part = part_rows(sample.texts, sample.truth, [holdout, 1.0 - holdout], seed)
    split = Split(np.flatnonzero(part != HELD_OUT), np.flatnonzero(part == HELD_OUT))
    if len(sample.labels) < 2:
        raise OperatorError("data-too-few", f"all rows have the label `{sample.labels[0]}`", "rows of two labels at least are needed")
    if not len(split.held_out):
        text = f"{len(sample.texts)} rows with few different texts for each label leave none to measure with"
        raise OperatorError("data-too-few", text, "label more rows: ten different texts of each label are a beginning")
    return split


def fit_learner(learner: Learner, sample: Sample, split: Split, final: Ints, seed: int, say: Say) -> Fit:
    """Measure a learner on the held-out rows, find its temperature across the others, and fit its final weights on the rows `final`.

    The temperature is that of answers to rows which were left out in turn, so that it takes nothing from the held-out ones.
    """
    began, part, of = time.monotonic(), f"fitting {learner.variant.name}", len(sample.texts)
    fold = part_rows([sample.texts[i] for i in split.fitted], sample.truth[split.fitted], [1.0 / _FOLDS] * _FOLDS, seed)
    odds: list[Floats] = []
    asked: list[Ints] = []
    for i in range(_FOLDS):
        say(part, of * i // (_FOLDS + 2), of)
        rest, left_out = split.fitted[fold != i], split.fitted[fold == i]
        if len(left_out):
            asked.append(left_out)
            odds.append(answers(learner, learner.fit(rest), left_out))
    temperature = fit_temperature(np.concatenate(odds), sample.truth[np.concatenate(asked)]) if asked else 1.0
    say(part, of * _FOLDS // (_FOLDS + 2), of)
    held_out = answers(learner, learner.fit(split.fitted), split.held_out)
    say(part, of * (_FOLDS + 1) // (_FOLDS + 2), of)
    arrays = learner.fit(final)
    say(part, of, of)
    return Fit(learner, _measured(learner, sample, split.held_out, held_out, temperature, time.monotonic() - began), arrays)


def answers(learner: Learner, arrays: Arrays, rows: Ints) -> Floats:
    """Give the log-odds of rows as a board computes them: from a file."""
    with tempfile.TemporaryDirectory(prefix="edged-fit-") as folder:
        path = Path(folder) / learner.file
        np.savez_compressed(path, **arrays)
        return learner.answer(path, rows)


def accuracy_interval(right: int, texts: Sequence[str]) -> tuple[float, float]:
    """Give the 95 % interval of an accuracy: `right` of the rows with these texts are right. Equal texts tell as much as one."""
    different = len({same_words(text) for text in texts})
    return interval(round(right / len(texts) * different), different, CONFIDENCE)


def _measured(learner: Learner, sample: Sample, rows: Ints, odds: Floats, temperature: float, seconds: float) -> Measured:
    truth, scores = sample.truth[rows], scores_of(odds, temperature)
    is_right = scores.argmax(axis=1) == truth
    right = int(is_right.sum())
    return Measured(
        learner.variant.name,
        learner.variant.engine,
        right,
        len(rows),
        right / len(rows),
        accuracy_interval(right, [sample.texts[i] for i in rows]),
        calibration_error(scores.max(axis=1), is_right),
        temperature,
        seconds,
    )
