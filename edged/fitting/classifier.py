"""Fit classifiers on the rows of a file, and put them into a release: words, and a head for each language model it has."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged import __version__
from edged.engines.choose import open_engine
from edged.errors import OperatorError
from edged.fitting.labelled import balance
from edged.fitting.learners import Floats, Ints, Learner, OpenEngine, Sample, Say, head_learner, in_batches, words_learner
from edged.fitting.logistic import need_scikit_learn
from edged.fitting.measure import Fit, Measured, Split, accuracy_interval, fit_learner, split_sample
from edged.fitting.rows import Rows, read_rows, write_rows
from edged.fitting.split import same_words
from edged.fitting.target import Target, read_target, save, write_into
from edged.models.packed import seal_file
from edged.models.schema import Input
from edged.stream.text_inference import shortened

_GOLDENS = 16


@dataclass(frozen=True)
class Order:
    """What is to be done. `only` is `words`, `head` or empty; `held_out` where the held-out rows go, which final weights then lack."""

    data: Path
    into: Path
    text: str = "text"
    label: str = "label"
    only: str = ""
    holdout: float = 0.2
    seed: int = 1
    held_out: Path | None = None


class Baseline(msgspec.Struct, frozen=True):
    """What one gets who answers the most frequent label of the fitted rows always."""

    label: str
    right: int
    rows: int
    accuracy: float
    interval: tuple[float, float]


class Report(msgspec.Struct, frozen=True):
    """What was found and written. `texts` are different ones among `rows`, as `held_out_texts` among `held_out_rows`."""

    model: str
    folder: str
    data: str
    rows: int
    texts: int
    labels: dict[str, int]
    left_out: dict[str, int]
    notes: list[str]
    held_out_rows: int
    held_out_texts: int
    final_rows: int
    seed: int
    baseline: Baseline
    variants: list[Measured]
    bytes: dict[str, int]


def fit_classifiers(order: Order, say: Say, opener: OpenEngine = open_engine) -> Report:
    """Do what is ordered. The model.toml is changed last, when all has come out well.

    Raises OperatorError: `fit-missing`, `same-file`, `data-no-rows`, `model-unreadable`, as `read_rows`, `read_target`, `split_sample`;
    `no-language-model` where a head is asked for and the release has none; and what engine llama raises.
    """
    need_scikit_learn()
    if order.held_out and order.held_out.resolve() == order.data.resolve():
        raise OperatorError(
            "same-file", f"{order.held_out} is the file of the data, and would be replaced", "write the held-out rows elsewhere"
        )
    found = read_rows(order.data, order.text, order.label)
    if not found.texts:
        raise OperatorError("data-no-rows", f"{order.data} has no row with a text and a label", "mend the file, or take another")
    target = read_target(order.into, list(dict.fromkeys(found.labels)))
    if order.only == "head" and not target.bases:
        text = f"{order.into} has no variant of engine llama, whose embeddings a head could be fitted on"
        raise OperatorError("no-language-model", text, "put a GGUF file there, and name it as a variant in model.toml")
    sample, cut = _sample(found, target)
    split = split_sample(sample, order.holdout, order.seed)
    final = split.fitted if order.held_out else np.arange(len(sample.texts))
    learners = _learners(order, target, sample, opener, say)
    fits = [fit_learner(learner, sample, split, final, order.seed, say) for learner in learners]
    sizes = {fit.learner.file: save(order.into / fit.learner.file, **fit.arrays) for fit in fits}
    goldens = [_golden(fit.learner, order.into, sample, split.held_out) for fit in fits]
    if order.held_out:
        write_rows(order.held_out, order.text, order.label, [(found.texts[i], found.labels[i]) for i in split.held_out])
    dataset = f"{len(split.held_out)} held-out rows of {order.data.name}, seed {order.seed}"
    write_into(target, fits, goldens, dataset, _provenance(order, found, split, final))
    held = [sample.texts[i] for i in split.held_out]
    return Report(
        target.name, str(order.into), order.data.name, len(sample.texts), _different(sample.texts),
        dict(Counter(found.labels).most_common()), found.left_out, [*_notes(target, sample, fits), *cut], len(held), _different(held),
        len(final), order.seed, _baseline(sample, split), [fit.measured for fit in fits], sizes,
    )  # fmt: skip


def _sample(found: Rows, target: Target) -> tuple[Sample, list[str]]:
    """Cut the texts as the data path does, and say how many were."""
    given = target.manifest.input if target.manifest else Input(kind="text")
    texts = [shortened(text, given) for text in found.texts]
    index = {label: i for i, label in enumerate(target.labels)}
    cut = sum(len(text) > given.max_chars for text in found.texts)
    notes = [f"texts longer than max_chars = {given.max_chars} were cut, as on a board: {cut:,}"] if cut else []
    return Sample(texts, np.array([index[label] for label in found.labels], np.intp), target.labels), notes


def _learners(order: Order, target: Target, sample: Sample, opener: OpenEngine, say: Say) -> list[Learner]:
    learners = [] if order.only == "head" else [words_learner(sample, opener)]
    for base in [] if order.only == "words" else target.bases:
        model = order.into / base.file
        try:
            seal = seal_file(model)
        except OSError as error:
            text = f"{model} of variant `{base.name}` cannot be read: {error.strerror}"
            raise OperatorError("model-unreadable", text, "put the file there, or fit with --only words") from None
        learners.append(head_learner(sample, base, model, seal.sha256, target.embed_use(base), opener, say))
    return learners


def _golden(learner: Learner, folder: Path, sample: Sample, held_out: Ints) -> tuple[list[str], Floats]:
    """Give some held-out texts, and what the engine makes of them with the final weights."""
    different = list(dict.fromkeys(sample.texts[i] for i in held_out))
    texts = [different[i] for i in np.unique(np.linspace(0, len(different) - 1, _GOLDENS).astype(int))]
    engine = learner.open(folder / learner.file)
    try:
        return texts, in_batches(engine.scores, texts, engine.batch, lambda done: None)
    finally:
        engine.close()


def _provenance(order: Order, found: Rows, split: Split, final: Ints) -> dict[str, Any]:
    whole = len(final) == len(found.texts)
    return {
        "data": order.data.name,
        "sha256": hashlib.sha256(order.data.read_bytes()).hexdigest(),
        "rows": len(found.texts),
        "held_out": len(split.held_out),
        "weights": "of all rows, after measuring" if whole else "of the rows that were not held out",
        "seed": order.seed,
        "by": f"edged {__version__}",
    }


def _notes(target: Target, sample: Sample, fits: Sequence[Fit]) -> list[str]:
    """Say what is odd about the rows, and what else of the release they touch."""
    labels_of: dict[str, set[int]] = {}
    for text, label in zip(sample.texts, sample.truth.tolist()):
        labels_of.setdefault(same_words(text), set()).add(label)
    notes = []
    if repeated := len(sample.texts) - len(labels_of):
        notes.append(f"rows that repeat the text of another: {repeated:,}; those with equal texts were held out together or not at all")
    if torn := sum(len(labels) > 1 for labels in labels_of.values()):
        notes.append(f"texts with more than one label: {torn:,}; no model can be right in all of their rows")
    notes += balance(sample.truth, sample.labels)
    if target.manifest is None:
        return notes
    names = {fit.measured.variant for fit in fits}
    others = [variant.name for variant in target.manifest.variants if variant.quality is not None and variant.name not in names]
    if others:
        notes.append(f"the quality of {', '.join(others)} was not measured on these rows; `edged eval` compares all on the same")
    if target.manifest.cascade:
        notes.append("the thresholds of [cascade] are of the weights before; run `edged fit cascade` again")
    return notes


def _baseline(sample: Sample, split: Split) -> Baseline:
    most = int(np.bincount(sample.truth[split.fitted]).argmax())
    right, rows = int((sample.truth[split.held_out] == most).sum()), len(split.held_out)
    held = [sample.texts[i] for i in split.held_out]
    return Baseline(sample.labels[most], right, rows, right / rows, accuracy_interval(right, held))


def _different(texts: Sequence[str]) -> int:
    return len({same_words(text) for text in texts})
