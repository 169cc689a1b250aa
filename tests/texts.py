"""Releases for texts: a classifier that looks for one word for each label, with goldens, and what a test adds to it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edged.engines.linear import LinearEngine
from edged.engines.text import TextUse
from tests.ggufs import working

LABELS = ("Bucket", "Engine", "Hydraulics")
TEXTS = ["bucket teeth worn", "engine low power", "replace hydraulics hose", "nothing known"]

MANIFEST = """name = "orders"
version = "1"
release = 1
task = "classify"
licence = "CC0-1.0"
[quality]
metric = "accuracy"
[input]
kind = "text"
template = "Order: {text}\\nSystem:"
max_chars = 200
[output]
labels = ["Bucket", "Engine", "Hydraulics"]
[[variants]]
name = "words"
engine = "linear"
file = "words.npz"
quality = 0.9
golden = { file = "golden-words.npz", atol = 1e-6 }
"""

LANGUAGE_MODEL = """[[variants]]
name = "labels"
engine = "llama"
file = "model.gguf"
quality = 0.8
"""
CASCADE = '[cascade]\nstages = [ { use = "words", accept = 0.9 }, { use = "labels", accept = 0.5, per_hour = 36 } ]\n'


def words_file(path: Path, labels: Sequence[str] = LABELS) -> Path:
    """Write a classifier of engine `linear` that knows the labels themselves, in lower case."""
    order = sorted(labels)
    words = sorted(label.lower() for label in labels)
    coef = np.array([[8.0 * (label.lower() == word) for label in order] for word in words], np.float32)
    np.savez(
        path,
        format=np.int64(1),
        labels=np.array(order),
        words=np.array(words),
        word_range=np.array([1, 1]),
        chars=np.array([], "<U1"),
        char_range=np.array([2, 2]),
        idf=np.ones(len(words), np.float32),
        coef=coef,
        intercept=np.zeros(len(order)),
        lowercase=np.int64(1),
        sublinear=np.int64(0),
        split=np.int64(len(words)),
    )
    return path


def head_file(path: Path, labels: Sequence[str], model: Path, width: int) -> Path:
    """Write a head for the embeddings of a model's file, which adds its first values up for each label."""
    coef = np.zeros((width, len(labels)), np.float32)
    np.fill_diagonal(coef, 1.0)
    np.savez(
        path, format=np.int64(1), labels=np.array(labels), mean=np.zeros(width, np.float32), scale=np.ones(width, np.float32), coef=coef,
        intercept=np.zeros(len(labels)), pooling=np.array("mean"), model=np.array(hashlib.sha256(model.read_bytes()).hexdigest()),
    )  # fmt: skip
    return path


def write_release(folder: Path, manifest: str = MANIFEST) -> Path:
    """Make a release with the files of its variants: `words` with goldens, and a language model that knows nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = LinearEngine(words_file(folder / "words.npz"), TextUse("classify", labels=LABELS))
    np.savez(folder / "golden-words.npz", texts=np.array(TEXTS), outputs=engine.scores(TEXTS))
    if "model.gguf" in manifest:
        (folder / "model.gguf").write_bytes(working())
    (folder / "model.toml").write_text(manifest)
    return folder
