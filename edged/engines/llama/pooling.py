"""Embed texts: the mean of what the model's last layer gives for a text's tokens, with one decode for several texts.

A token's row says nothing of those behind it, so texts that begin alike share what they begin with, see `tree`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edged.engines.llama.breath import Breath
from edged.engines.llama.model import Context
from edged.engines.llama.tree import PREFIX, Tree

MOST_TEXTS = 16  # in one decode


class Pooler:
    """Embeds texts with a context made for embeddings. No prompt: another one would be another embedding."""

    def __init__(self, context: Context, breath: Breath) -> None:
        self._context, self._breath = context, breath

    def vectors(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Give vectors [texts, width], each of length 1; each text has a token, and fits."""
        found = np.empty((len(texts), self._context.model.width))
        order = sorted(range(len(texts)), key=lambda i: tuple(texts[i]))  # neighbours begin alike
        while order:
            tokens = np.cumsum([len(texts[i]) for i in order[:MOST_TEXTS]])
            count = max(int(np.searchsorted(tokens, self._context.tokens, side="right")), 1)
            found[order[:count]] = self._decoded([texts[i] for i in order[:count]])
            order = order[count:]
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)

    def _decoded(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Decode a block at a time: for each token of a decode the runtime keeps the scores of its whole vocabulary, which nobody wants."""
        tree = Tree(0, not self._context.model.keeps_state)
        paths = [tree.add(tree.root, text) for text in texts]
        rows = np.empty((len(tree.nodes), self._context.model.width), np.float32)
        try:
            tree.begin(self._context)
            for at in range(0, len(rows), self._context.batch):
                some = rows[at : at + self._context.batch]
                tree.decode(self._context, slice(at, at + len(some)), [1] * len(some))
                some[:] = self._context.rows()
                self._breath.between()
            return np.stack([rows[[node.number for node in path]].mean(axis=0, dtype=np.float64) for path in paths])
        finally:
            self._context.keep(PREFIX)  # which has nothing here
