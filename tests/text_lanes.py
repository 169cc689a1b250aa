"""Releases for texts, made by hand, and an engine for texts that says what a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Build
from edged.engines.choose import open_engine
from edged.engines.text import TextUse, Written
from edged.errors import EdgedError
from tests.ggufs import tiny
from tests.linears import LABELS, linear_arrays, written

TEXT = {"type": "text"}
# What `linear_arrays` knows: the first is a pump for sure, the second a valve, and of the third it knows nothing.
PUMP, VALVE, UNKNOWN = "oil leak oil leak", "stuck", "?"


def text_release(
    folder: Path, *, task: str = "classify", engine: str = "linear", given: str = "", output: str = "", more: str = "", name: str = "orders"
) -> Path:
    """Write a release for texts with one variant `words`; `given`, `output` and `more` are lines of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = f"labels = {json.dumps(LABELS)}\n" if task == "classify" else ""
    written(folder / "words.npz", linear_arrays())
    (folder / "words.gguf").write_bytes(tiny().write())
    file = "words.npz" if engine == "linear" else "words.gguf"
    (folder / "model.toml").write_text(
        f'name = "{name}"\nversion = "1"\nrelease = 1\ntask = "{task}"\n\n[input]\nkind = "text"\n{given}\n[output]\n{labels}{output}\n'
        f'[[variants]]\nname = "words"\nengine = "{engine}"\nfile = "{file}"\n{more}'
    )
    return folder


def with_cascade(folder: Path, accept: float = 0.9, second: float = 0.9, more: str = "", per_hour: int = 0, name: str = "orders") -> Path:
    """Write a release whose variant `words` is asked first and `large` then, both of engine linear."""
    stages = (
        f'[[variants]]\nname = "large"\nengine = "linear"\nfile = "large.npz"\n\n[cascade]\n{more}\n'
        f'[[cascade.stages]]\nuse = "words"\naccept = {accept}\n'
        f'[[cascade.stages]]\nuse = "large"\naccept = {second}\nper_hour = {per_hour}\n'
    )
    text_release(folder, more=stages, name=name)
    written(folder / "large.npz", linear_arrays(), coef=linear_arrays()["coef"] * 4, intercept=np.array([0.0, 3.0]))
    return folder


class Scripted:
    """An engine for texts: `answer` gives what it says of one text, or raises; it keeps what it was asked."""

    def __init__(self, use: TextUse, answer: Callable[[str], Any], batch: int = 4) -> None:
        self.build = Build("llama", "scripted", "1", "cpu")
        self.use = use
        self.batch = batch
        self.values = 0 if use.task in ("extract", "generate") else len(use.labels) or 3
        self.progress: Callable[[], None] = lambda: None
        self.asked: list[list[str]] = []
        self.deadlines: list[float] = []
        self.closed = False
        self._answer = answer

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array(self._all(texts), np.float64)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array(self._all(texts), np.float32)

    def write(self, texts: Sequence[str], deadline_ms: float) -> list[Written]:
        self.deadlines.append(deadline_ms)
        return [each if isinstance(each, Written) else Written(each, 1) for each in self._all(texts)]

    def mib(self) -> float:
        return 0.0

    def close(self) -> None:
        self.closed = True

    def _all(self, texts: Sequence[str]) -> list[Any]:
        assert not self.closed
        self.asked.append(list(texts))
        return [self._answer(text) for text in texts]


class Opener:
    """As `open_engine`, but what is for engine `llama` is scripted; `opened` are the scripted engines."""

    def __init__(self, answer: Callable[[str], Any], batch: int = 4) -> None:
        self.opened: list[Scripted] = []
        self._answer = answer
        self._batch = batch

    def __call__(self, path: Path, engine: str, **options: Any) -> Any:
        if "text" not in options or engine == "linear":
            return open_engine(path, engine, **options)
        self.opened.append(Scripted(options["text"], self._answer, self._batch))
        return self.opened[-1]


def failing(error: EdgedError) -> Callable[[str], Any]:
    """Give an answer that raises for the text `bad`, and is that text for others."""

    def answer(text: str) -> str:
        if text == "bad":
            raise error
        return text

    return answer
