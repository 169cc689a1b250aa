"""Classify by the label texts: how likely the model finds each after the prompt, with one decode for several texts.

The score of a label is the mean log-probability of its tokens, as long labels would else never be likely; less what the model thinks
of the label whatever the text is, which texts without content show (Zhao et al. 2021, "Calibrate Before Use", there for the first token).

What texts, and labels behind them, begin with in common is computed once, see `tree`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edged.engines.llama.breath import Breath
from edged.engines.llama.model import MOST_SEQUENCES, Context
from edged.engines.llama.tree import PREFIX, Tree

MOST_TEXTS = 8  # in one decode; more do not make a text quicker, and hold the processor longer
_MOST_LOGITS = 32 << 20  # bytes of scores of the vocabulary in one decode
_ROWS = 16  # of them, whose probabilities are summed up at once

Tokens = Sequence[int]


class Labels:
    """The tokens of the labels, in parts that one text has sequences for."""

    def __init__(self, labels: Sequence[Tokens], words: int) -> None:
        """Take the tokens of each label, of which none may be a proper prefix of another; `words`: size of the vocabulary."""
        self.count = len(labels)
        most = min(MOST_SEQUENCES - 1, max(_MOST_LOGITS // 4 // words // max(map(len, labels)), 1))
        self.parts = [labels[i : i + most] for i in range(0, len(labels), most)]
        inner = [{tuple(label[:i]) for label in part for i in range(1, len(label))} for part in self.parts]
        self.nodes = max(map(len, inner))
        part = len(self.parts[0])
        self.at_once = max(min(MOST_TEXTS, (MOST_SEQUENCES - 1) // part, _MOST_LOGITS // 4 // words // (self.nodes + 1)), 1)
        # No more than are needed: the runtime keeps the scores of the whole vocabulary for as many tokens as there may be sequences.
        self.sequences = 1 + self.at_once * part


class Scorer:
    """Scores texts behind a prefix that is in the context already, as sequence 0 with `start` tokens."""

    def __init__(self, context: Context, start: int, labels: Labels, breath: Breath) -> None:
        self._context, self._start, self._labels, self._breath = context, start, labels, breath
        self._room = np.empty((_ROWS, context.model.words), np.float32)

    def scores(self, texts: Sequence[Tokens]) -> NDArray[np.float64]:
        """Give mean log-probabilities [texts, labels]; each text has a token, and fits with its labels."""
        found = np.empty((len(texts), self._labels.count))
        order = sorted(range(len(texts)), key=lambda i: tuple(texts[i]))  # neighbours begin alike
        for group in self._groups(texts, order):
            at = 0
            for labels in self._labels.parts:
                found[group, at : at + len(labels)] = self._decoded([texts[i] for i in group], labels)
                at += len(labels)
        return found

    def _groups(self, texts: Sequence[Tokens], order: list[int]) -> Iterator[list[int]]:
        group: list[int] = []
        tokens = 0
        most = min(self._context.batch, self._context.tokens - self._start)
        for i in order:
            more = len(texts[i]) + self._labels.nodes
            if group and (len(group) == self._labels.at_once or tokens + more > most):
                yield group
                group, tokens = [], 0
            group.append(i)
            tokens += more
        if group:
            yield group

    def _decoded(self, texts: Sequence[Tokens], labels: Sequence[Tokens]) -> NDArray[np.float64]:
        tree = Tree(self._start)
        asked: list[tuple[int, int]] = []  # for each token of each label of each text: the node before it, the token
        for text in texts:
            end = tree.add(tree.root, text)[-1]
            for label in labels:
                asked += zip([node.number for node in [end, *tree.add(end, label[:-1])]], label)
        node, token = np.array(asked).T
        wanted = np.zeros(len(tree.nodes), np.int8)
        wanted[node] = 1
        try:
            tree.begin(self._context)
            tree.decode(self._context, slice(None), wanted.tolist())
            likely = self._log_probabilities(np.cumsum(wanted)[node] - 1, token)
        finally:
            self._context.keep(PREFIX)
            self._breath.between()
        lengths = np.array([len(label) for label in labels])
        sums = np.add.reduceat(likely, np.concatenate([[0], np.cumsum(np.tile(lengths, len(texts)))[:-1]]))
        return sums.reshape(len(texts), len(labels)) / lengths

    def _log_probabilities(self, row: NDArray[np.intp], token: NDArray[np.intp]) -> NDArray[np.float64]:
        rows = self._context.rows()
        total = np.empty(len(rows))
        for at in range(0, len(rows), _ROWS):
            some = rows[at : at + _ROWS]
            room = self._room[: len(some)]
            most = some.max(axis=1)
            np.subtract(some, most[:, None], out=room)
            total[at : at + _ROWS] = most + np.log(np.exp(room, out=room).sum(axis=1, dtype=np.float64))
        return rows[row, token] - total[row]


def prior(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the logarithm of each label's mean probability over texts without content, from their scores [texts, labels]."""
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.log((likely / likely.sum(axis=1, keepdims=True)).mean(axis=0))
