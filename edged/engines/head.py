"""A head: weights that make labels of a language model's embedding of a text.

Format 1, an .npz of plain arrays:

    format           int64 = 1
    labels           <U [labels]
    mean, scale      float32 [width]: what is taken off each value of an embedding, and what it is divided by
    coef, intercept  float32 [width, labels], float64 [labels]
    pooling          <U: `mean`, the mean over a text's tokens
    model            <U: SHA-256 of the GGUF file whose embeddings it was fitted on, in hex

Embeddings of another file mean something else, and labels made of them would be wrong without a word; so the file is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.engines.learnt import Learnt
from edged.errors import PublisherError

POOLING = "mean"
MAX_WIDTH = 1 << 16


@dataclass(frozen=True)
class Head:
    """Weights, with labels in the order that was asked for."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path, labels: Sequence[str], model_sha256: str) -> Head:
        """Read the file, for the model file of this SHA-256 in hex.

        Raises PublisherError(`head-mismatch`) where it was fitted on another, and as `Learnt` where it is no head for these labels.
        """
        file = Learnt(path, ("mean", "scale", "coef", "intercept"), ("pooling", "model"))
        if (fitted_on := file.text("model")) != model_sha256:
            text = f"`{path.name}` was fitted on the model file {fitted_on[:12]!r}…, and the variant's is {model_sha256[:12]!r}…"
            raise PublisherError("head-mismatch", text, "fit it again with `edged fit classifier`")
        if file.text("pooling") != POOLING:
            raise file.wrong("pooling", f"is not `{POOLING}`")
        width = file.rows("mean")
        if not 1 <= width <= MAX_WIDTH:
            raise file.wrong("mean", f"has {width} values, and not 1 to {MAX_WIDTH}")
        order = file.label_order(labels)
        scale = file.floats("scale", np.float32, width)
        if not (scale > 0).all():
            raise file.wrong("scale", "has values that are not above 0")
        return cls(
            file.floats("mean", np.float32, width).astype(np.float64),
            scale.astype(np.float64),
            np.ascontiguousarray(file.floats("coef", np.float32, width, len(order))[:, order], np.float64),
            file.floats("intercept", np.float64, len(order))[order].astype(np.float64),
        )

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Give log-odds float64 [n, labels] of embeddings float32 [n, width].

        Raises PublisherError(`head-mismatch`) for another width.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            text = f"the head takes embeddings of {len(self.mean)} values, and the model gives {list(embeddings.shape)[1:]}"
            raise PublisherError("head-mismatch", text, "fit it again with `edged fit classifier`")
        scaled: NDArray[np.float64] = (embeddings - self.mean) / self.scale
        return scaled @ self.coef + self.intercept
