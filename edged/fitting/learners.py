"""What can be fitted on rows of texts: words, by engine linear; and heads, on the embeddings of a language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.head import Head
from edged.engines.text import TextEngine, TextUse
from edged.fitting.logistic import Arrays, fit_head, fit_words
from edged.models.manifest import Variant

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]
Say = Callable[[str, int, int], None]  # what, rows that are done, of so many
OpenEngine = Callable[..., Any]  # as `engines.choose.open_engine`


@dataclass(frozen=True)
class Sample:
    """What is learnt from: texts [n] as an engine gets them, and the index of each one's label."""

    texts: list[str]
    truth: Ints
    labels: list[str]


@dataclass(frozen=True)
class Learner:
    """One variant that is fitted.

    fit      gives the arrays of its npz file from rows, int [k]
    answer   computes log-odds float64 [k, labels] of rows with the file at a path, as a board does
    open     opens the engine with the file at a path, for goldens
    closest  how alike boards compute it, as keys of a golden
    """

    variant: Variant
    file: str
    fit: Callable[[Ints], Arrays]
    answer: Callable[[Path, Ints], Floats]
    open: Callable[[Path], TextEngine]
    closest: dict[str, float]


def words_learner(sample: Sample, opener: OpenEngine) -> Learner:
    """Make what fits words and pieces of words."""
    use = TextUse("classify", labels=tuple(sample.labels))

    def opened(path: Path) -> TextEngine:
        engine: TextEngine = opener(path, "linear", text=use)
        return engine

    def fit(chosen: Ints) -> Arrays:
        return fit_words([sample.texts[i] for i in chosen], sample.truth[chosen], sample.labels)

    def answer(path: Path, chosen: Ints) -> Floats:
        engine = opened(path)
        try:
            return in_batches(engine.scores, [sample.texts[i] for i in chosen], engine.batch, lambda done: None)
        finally:
            engine.close()

    variant = Variant(name="words", engine="linear", file="words.npz")
    return Learner(variant, variant.file, fit, answer, opened, {"atol": 1e-4})  # float32 sums in another order differ by 1e-6


def head_learner(sample: Sample, base: Variant, model: Path, sha256: str, embed: TextUse, opener: OpenEngine, say: Say) -> Learner:
    """Make what fits a head on the model file of the variant `base`; all different texts are embedded here, once.

    Raises what opening and running the engine raise.
    """
    name = base.name if base.head else f"{base.name}-head"
    variant = Variant(name=name, engine="llama", file=base.file, head=base.head or f"head-{base.name}.npz", context=base.context)
    different = sorted(set(sample.texts), key=len)  # of one length together: a batch takes as long as its longest
    engine: TextEngine = opener(model, "llama", text=embed)
    try:
        part = f"embedding for {name}"
        found = in_batches(engine.vectors, different, engine.batch, lambda done: say(part, done, len(different)))
    finally:
        engine.close()
    at = {text: i for i, text in enumerate(different)}
    embeddings = found[[at[text] for text in sample.texts]].astype(np.float32)
    labels = tuple(sample.labels)

    def fit(chosen: Ints) -> Arrays:
        return fit_head(embeddings[chosen], sample.truth[chosen], labels, sha256)

    def answer(path: Path, chosen: Ints) -> Floats:
        return Head.read(path, labels, sha256).logits(embeddings[chosen])

    def opened(path: Path) -> TextEngine:
        engine: TextEngine = opener(model, "llama", text=replace(embed, task="classify", labels=labels, head=path))
        return engine

    # Quantized products differ from processor to processor: log-odds move, and now and then a label that was not sure.
    return Learner(variant, variant.head, fit, answer, opened, {"agree": 0.9})


def in_batches(call: Callable[[list[str]], NDArray[Any]], texts: list[str], batch: int, say: Callable[[int], None]) -> NDArray[Any]:
    """Call with as many texts as pay; give all rows of the answers."""
    parts = []
    for start in range(0, len(texts), batch):
        say(start)
        parts.append(call(texts[start : start + batch]))
    say(len(texts))
    return np.concatenate(parts)
