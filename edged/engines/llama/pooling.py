"""Embed texts: the mean of what the model's last layer gives for a text's tokens, with one decode for several texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edged.engines.llama.breath import Breath
from edged.engines.llama.model import Context

MOST_TEXTS = 16  # in one decode


class Pooler:
    """Embeds texts with a context made for embeddings. No prompt: another one would be another embedding."""

    def __init__(self, context: Context, breath: Breath) -> None:
        self._context, self._breath = context, breath

    def vectors(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Give vectors [texts, width], each of length 1; each text has a token, and fits."""
        found = np.empty((len(texts), self._context.model.width))
        at = 0
        while at < len(texts):
            group = self._group(texts[at:])
            found[at : at + len(group)] = self._decoded(group)
            at += len(group)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)

    def _group(self, texts: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        tokens = np.cumsum([len(text) for text in texts[:MOST_TEXTS]])
        return texts[: max(int(np.searchsorted(tokens, self._context.tokens, side="right")), 1)]

    def _decoded(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Decode a block at a time: for each token of a decode the runtime keeps the scores of its whole vocabulary, which nobody wants."""
        tokens = [token for text in texts for token in text]
        places = [place for text in texts for place in range(len(text))]
        owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        sums = np.zeros((len(texts), self._context.model.width))
        try:
            for at in range(0, len(tokens), self._context.block):
                part = slice(at, at + self._context.block)
                owner = owners[part]
                self._context.decode(tokens[part], places[part], [(i,) for i in owner.tolist()], [1] * len(owner))
                np.add.at(sums, owner, self._context.rows())
            return sums / np.bincount(owners)[:, None]
        finally:
            for sequence in range(len(texts)):
                self._context.drop(sequence)
            self._breath.between()
