"""Run a variant's golden texts and hold the answers to what the release says.

The npz has `texts` <U [n], of which none is longer than `max_chars`, and `outputs`: of classify float64 [n, labels], log-odds as the
engine gives them, before `temperature`; of embed float32 [n, values]; of extract and generate <U [n], which must be the same to the
letter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.engines.text import TextEngine, TextUse
from edged.npz import Array, read_arrays
from edged.packing.goldens import Compared, compare, mismatch

DEADLINE_MS = 60_000.0  # for one answer; what board has this model decides elsewhere whether that is soon enough
_WRITTEN = ("extract", "generate")


def run_text_golden(engine: TextEngine, use: TextUse, path: Path) -> Compared:
    """Answer the golden texts of the file at `path` and compare.

    Raises PublisherError `npz-malformed`, `golden-mismatch` where arrays are not as said above, and what the engine raises.
    """
    texts, outputs = _read(path, use, engine.values)
    if use.task in _WRITTEN:
        return _compare_words([written.text for written in engine.write(texts, DEADLINE_MS)], outputs.tolist())
    return compare(engine.scores(texts) if use.task == "classify" else engine.vectors(texts), outputs)


def _read(path: Path, use: TextUse, values: int) -> tuple[list[str], Array]:
    words = ("texts", "outputs") if use.task in _WRITTEN else ("texts",)
    arrays = read_arrays(path, ("texts", "outputs"), words)
    texts, outputs = arrays["texts"], arrays["outputs"]
    if texts.ndim != 1 or texts.size == 0:
        raise mismatch(path, f"`texts` are {list(texts.shape)}, and a list of one or more is wanted")
    dtype, shape = _wanted(use, len(texts), values)
    if outputs.dtype.kind != dtype.kind or (dtype.kind == "f" and outputs.dtype != dtype) or outputs.shape != shape:
        text = f"`outputs` are {outputs.dtype} {list(outputs.shape)}, and task `{use.task}` gives {dtype} {list(shape)}"
        raise mismatch(path, text)
    if dtype.kind == "f" and not np.isfinite(outputs).all():
        raise mismatch(path, "`outputs` are not all finite")
    if (longest := max(map(len, texts.tolist()))) > use.max_chars:
        raise mismatch(path, f"a text of {longest} characters is longer than max_chars = {use.max_chars}")
    return texts.tolist(), outputs


def _wanted(use: TextUse, rows: int, values: int) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    if use.task in _WRITTEN:
        return np.dtype(np.str_), (rows,)
    return np.dtype(np.float64 if use.task == "classify" else np.float32), (rows, values)


def _compare_words(answers: list[str], golden: list[str]) -> Compared:
    same: NDArray[np.bool_] = np.array([answer == wanted for answer, wanted in zip(answers, golden, strict=True)])
    return Compared(len(golden), 0.0, int(same.argmin()), (), float(same.mean()), in_words=True)
