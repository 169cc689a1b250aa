"""Part labelled rows into some that are fitted on and some that are held out; pure, and the same for the same seed.

Rows with the same words are kept on one side: a classifier that has seen a text before knows its label, and that says
nothing of the texts to come. Each label is parted for itself, so that its share is the same on both sides.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]

ALWAYS = -1  # the part of rows that are never held out, as a label has no others


def same_words(text: str) -> str:
    """Give the text without what does not matter between two that say the same: case and white space."""
    return " ".join(text.casefold().split())


def part_rows(texts: Sequence[str], truth: Ints, shares: Sequence[float], seed: int) -> Ints:
    """Give the part of each row, int [n]: as many parts as shares, which add up to 1; ALWAYS for rows that each fit needs.

    Whatever part is held out, the others have all labels.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        groups[same_words(text)].append(row)
    by_label: dict[int, list[list[int]]] = defaultdict(list)
    for rows in groups.values():
        labels = truth[rows].tolist()
        by_label[max(labels, key=labels.count)].append(rows)
    part = np.full(len(texts), ALWAYS, np.intp)
    chance = random.Random(seed)
    for label in sorted(by_label):
        chance.shuffle(by_label[label])
        lacking = np.array(shares) * sum(map(len, by_label[label]))
        for rows in by_label[label]:
            emptiest = int(lacking.argmax())
            part[rows] = emptiest
            lacking[emptiest] -= len(rows)
    _spread(part, truth, groups)
    return part


def _spread(part: Ints, truth: Ints, groups: dict[str, list[int]]) -> None:
    """Have no label in one part alone."""
    group_of = {row: rows for rows in groups.values() for row in rows}
    for label in np.unique(truth).tolist():
        rows = np.flatnonzero(truth == label)
        if len(np.unique(part[rows])) == 1:
            part[group_of[int(rows[0])]] = ALWAYS
