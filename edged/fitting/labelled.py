"""Read labelled rows: texts of a CSV file, windows of an .npz file; and say what is odd about them.

    CSV    a header line with the columns of text and label, see `rows`
    .npz   `windows` [n, samples, channels] of numbers as the decoder gives them, and `labels` [n]: indices of the
           release's labels, or their names; for anomaly `anomalous` [n]: 0 or 1

What is left out is counted with its reason; nothing is mended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.errors import OperatorError, PublisherError
from edged.fitting.rows import read_rows
from edged.fitting.split import same_words
from edged.models.schema import Manifest
from edged.npz import read_arrays

FEW = 10  # rows of a label below which its precision and recall are hardly known
UNEVEN = 10  # times that the most frequent label outweighs the least frequent one
_NAMED = 6


@dataclass(frozen=True)
class Labelled:
    """Rows that a release can be held to.

    `inputs` are texts (object [n]) or windows float32 [n, samples, channels]; `truth` int [n]: indices of the release's
    labels, or 0 and 1 for anomalous. `left_out` counts rows by reason, `notes` are sentences about what is odd.
    """

    file: str
    inputs: NDArray[Any]
    truth: NDArray[np.intp]
    left_out: dict[str, int]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.truth)


def read_labelled(path: Path, manifest: Manifest, text: str = "text", label: str = "label") -> Labelled:
    """Read what a release for texts (CSV, with these columns) or for windows (.npz) can be held to.

    Raises OperatorError: `data-unreadable`, `data-malformed`, `data-no-column`, `data-no-rows`, `data-not-for-this`.
    """
    if manifest.task not in ("classify", "anomaly") or manifest.input.kind == "tensor":
        text_ = f"the task of {manifest.name} is `{manifest.task}` on a {manifest.input.kind}"
        raise OperatorError("data-not-for-this", text_, "labelled rows are for classify on texts and windows, and for anomaly on windows")
    found = _texts(path, manifest, text, label) if manifest.input.kind == "text" else _windows(path, manifest)
    if not len(found):
        why = "; ".join(f"{count:,} {reason}" for reason, count in found.left_out.items()) or "it is empty"
        raise OperatorError("data-no-rows", f"{path} has no row that could be used: {why}", "mend the file, or take another")
    found.notes.extend(naming("[provenance]", manifest.provenance, path.name))
    return found


def naming(where: str, table: object, file: str) -> list[str]:
    """Say that a table of the release names this file: as what it was made or fitted with."""
    named = file in str(table)
    return [f"{where} of the release names {file}: rows that it was made with make it look better than it is"] if named else []


def _texts(path: Path, manifest: Manifest, text: str, label: str) -> Labelled:
    rows = read_rows(path, text, label)
    index = {name: i for i, name in enumerate(manifest.output.labels)}
    left_out = dict(rows.left_out)
    unknown = Counter(name for name in rows.labels if name not in index)
    if unknown:
        left_out[f"with a label that the release does not have ({_named(unknown)})"] = unknown.total()
    kept = [i for i, name in enumerate(rows.labels) if name in index]
    inputs = np.array([rows.texts[i] for i in kept], object)
    truth = np.array([index[rows.labels[i]] for i in kept], np.intp)
    return Labelled(path.name, inputs, truth, left_out, [*_doubles(inputs, truth), *balance(truth, manifest.output.labels)])


def _windows(path: Path, manifest: Manifest) -> Labelled:
    name = "anomalous" if manifest.task == "anomaly" else "labels"
    windows, marks = _arrays(path, name)
    wanted = (manifest.input.samples, len(manifest.input.channels))
    if windows.shape[1:] != wanted or marks.shape != windows.shape[:1]:
        text = f"{path}: `windows` are {list(windows.shape)} and `{name}` {list(marks.shape)}"
        raise OperatorError("data-malformed", text, f"windows [n, {wanted[0]}, {wanted[1]}] and {name} [n] are wanted")
    names = ["clean", "anomalous"] if manifest.task == "anomaly" else manifest.output.labels
    truth = _truth(marks, names)
    known = truth >= 0
    finite = np.isfinite(windows).all(axis=(1, 2))
    left_out = {
        "with a label that the release does not have": int((~known).sum()),
        "with values that are no numbers": int((known & ~finite).sum()),
    }
    kept = known & finite
    notes = balance(truth[kept], names)
    if manifest.input.stateful:
        notes.append("the model keeps a state between windows: these are taken as one stream, in the order of the file")
    counted = {reason: count for reason, count in left_out.items() if count}
    return Labelled(path.name, windows[kept].astype(np.float32), truth[kept], counted, notes)


def _arrays(path: Path, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        windows = read_arrays(path, ("windows",))["windows"]
        try:
            return windows, read_arrays(path, (name,))[name]
        except PublisherError:
            return windows, read_arrays(path, (name,), (name,))[name]
    except PublisherError as error:
        raise OperatorError("data-malformed", error.text, f"write it with numpy.savez(windows=…, {name}=…)") from None


def _truth(marks: NDArray[Any], names: Sequence[str]) -> NDArray[np.intp]:
    """Give the index of each mark in `names`, -1 where it has none."""
    if marks.dtype.kind == "U":
        index = {name: i for i, name in enumerate(names)}
        return np.array([index.get(str(mark), -1) for mark in marks], np.intp)
    with np.errstate(invalid="ignore"):
        whole = marks.astype(np.intp)
    return np.where((whole == marks) & (whole >= 0) & (whole < len(names)), whole, -1)


def _doubles(inputs: NDArray[Any], truth: NDArray[np.intp]) -> list[str]:
    """Say how many rows repeat others, and how many texts have several labels."""
    labels_of: dict[str, set[int]] = {}
    for text, label in zip(inputs.tolist(), truth.tolist()):
        labels_of.setdefault(same_words(text), set()).add(label)
    repeated = len(inputs) - len(labels_of)
    torn = sum(len(labels) > 1 for labels in labels_of.values())
    notes = []
    if repeated:
        notes.append(f"{_rows_are(repeated)} the same text as an earlier row: bounds and intervals take rows for independent")
    if torn:
        notes.append(f"{torn:,} text{'s have' if torn > 1 else ' has'} more than one label: no model can be right in all of these rows")
    return notes


def balance(truth: NDArray[np.intp], labels: Sequence[str]) -> list[str]:
    """Say which labels have no rows, few, or far more than others."""
    counts = dict(zip(labels, np.bincount(truth, minlength=len(labels)).tolist()))
    none = [label for label, count in counts.items() if not count]
    few = Counter({label: count for label, count in counts.items() if 0 < count < FEW})
    notes = []
    if none:
        notes.append(f"no row has the label {_listed(none)}: nothing is known of it")
    if few:
        notes.append(f"few rows have the label {_named(few)}: precision and recall of it are hardly known")
    least = min((count for count in counts.values() if count), default=0)
    if least * UNEVEN < max(counts.values(), default=0):
        most = max(counts, key=counts.__getitem__)
        notes.append(
            f"the labels are unbalanced: `{most}` has {counts[most]:,} rows, the least frequent {least:,}; look at each label's recall"
        )
    return notes


def _rows_are(count: int) -> str:
    return f"{count:,} row{'s have' if count > 1 else ' has'}"


def _named(counts: Counter[str]) -> str:
    return _listed([f"{name[:40]}: {count:,}" for name, count in counts.most_common()])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
