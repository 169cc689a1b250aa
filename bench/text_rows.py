"""Real texts with labels, parted into rows to fit on and rows held out, for `python -m bench text-accuracy`.

Work orders ship with the project; requests (CLINC150) and log lines (BGL of loghub) are read from the folder that EDGED_TEST_ASSETS
names, and left out where it is not there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.fitting.split import part_rows
from tests.conftest import ASSETS, DATA

SEED = 1
HELD_OUT = 0.31  # of 1,015 orders about 315
FOLDS = 5
DOMAIN, INTENTS = "auto_and_commute", 10
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Fold:
    """Rows to fit on, and rows held out."""

    fitted: Ints
    held_out: Ints


@dataclass(frozen=True)
class Labelled:
    """Texts [n] with the index of each one's label. `spoken` are the labels as a language model is to read them.

    `alarm`: the label whose precision and recall matter; `heads`: language models are to be tried, too.
    """

    name: str
    about: str
    texts: list[str]
    truth: Ints
    labels: list[str]
    spoken: list[str]
    template: str
    folds: list[Fold]
    alarm: int | None = None
    heads: bool = True

    @property
    def longest(self) -> int:
        """Give the characters of the longest text."""
        return max(map(len, self.texts))


def all_rows(most: int) -> Iterator[Labelled]:
    """Give all sets of rows that are here, each with at most so many rows held out."""
    yield shorter(_orders(), most)
    clinc, bgl = ASSETS / "data" / "text" / "clinc150", ASSETS / "data" / "text" / "loghub" / "BGL_2k.log_structured.csv"
    if clinc.is_dir():
        chosen = json.loads((clinc / "domains.json").read_text())[DOMAIN][:INTENTS]
        about = f"requests about cars, the first {INTENTS} intents of `{DOMAIN}`"
        yield shorter(_requests(clinc, f"CLINC150, {INTENTS} intents", about, chosen), most)
        yield shorter(_requests(clinc, "CLINC150, 150 intents", "requests of all domains", None), most)
    else:
        print(f"  CLINC150 is not here: set EDGED_TEST_ASSETS (looked in {ASSETS})")
    if bgl.is_file():
        yield shorter(_log_lines(bgl), most)
    else:
        print(f"  BGL is not here: set EDGED_TEST_ASSETS (looked in {ASSETS})")


def shorter(rows: Labelled, most: int) -> Labelled:
    """Give the same with at most so many rows held out, chosen by chance."""
    chance = np.random.default_rng(SEED)
    folds = [Fold(fold.fitted, chance.permutation(fold.held_out)[: most // len(rows.folds)]) for fold in rows.folds]
    return replace(rows, folds=folds)


def _indexed(labels: Sequence[str]) -> tuple[list[str], Ints]:
    known = sorted(set(labels))
    return known, np.array([known.index(label) for label in labels], np.intp)


def _orders() -> Labelled:
    with (DATA / "excavators" / "orders.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["text"] for row in rows]
    labels, truth = _indexed([row["label"] for row in rows])
    part = part_rows(texts, truth, [HELD_OUT, 1 - HELD_OUT], SEED)
    folds = [Fold(np.flatnonzero(part != 0), np.flatnonzero(part == 0))]
    about = "work orders of three mining excavators, six systems"
    spoken = [label.replace("_", " and ") for label in labels]
    return Labelled("excavators", about, texts, truth, labels, spoken, "Work order: {text}\nSystem:", folds)


def _requests(folder: Path, name: str, about: str, intents: Sequence[str] | None) -> Labelled:
    """Give requests with the split that CLINC150 has: its training rows to fit on, its validation rows held out."""
    found = json.loads((folder / "clinc150_small_train_val.json").read_text())
    train, held = ([row for row in found[key] if intents is None or row[1] in intents] for key in ("train", "val"))
    labels, truth = _indexed([label for _, label in (*train, *held)])
    folds = [Fold(np.arange(len(train)), np.arange(len(train), len(train) + len(held)))]
    spoken = [label.replace("_", " ") for label in labels]
    texts = [text for text, _ in (*train, *held)]
    return Labelled(name, about, texts, truth, labels, spoken, "Request: {text}\nIntent:", folds, heads=intents is not None)


def _log_lines(path: Path) -> Labelled:
    """Give log lines of a supercomputer, in five folds: lines of one template are in one fold, so that alerts of other kinds are asked."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["Content"] for row in rows]
    labels, truth = _indexed(["normal" if row["Label"] == "-" else "alert" for row in rows])
    kinds, kind = np.unique([row["EventId"] for row in rows], return_inverse=True)
    label_of = np.array([truth[kind == i][0] for i in range(len(kinds))])  # each template has one label
    part = part_rows([f"kind {i}" for i in range(len(kinds))], label_of, [1 / FOLDS] * FOLDS, SEED)[kind]
    folds = [Fold(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(FOLDS)]
    about = f"log lines of a supercomputer, normal or alert; {len(kinds)} templates, five folds of other templates"
    return Labelled("BGL", about, texts, truth, labels, labels, "Log line: {text}\nThis is:", folds, alarm=labels.index("alert"))
