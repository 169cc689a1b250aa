"""The small interface that every runtime for texts stands behind, and what it is told of the release.

As with `Engine`, one thread at a time uses it. What a text is made of (decoding, cutting to `max_chars`) and what becomes of
an answer (labels, thresholds) is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from edged.engines.base import Build

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TextTask = Literal["classify", "extract", "generate", "embed"]


@dataclass(frozen=True)
class Prompt:
    """What a language model reads: `template` holds `{text}` once; `examples` are pairs of a text and its answer.

    `chat`: the parts are put into the turns of the model's own chat template; else system, examples and template follow each
    other, with an empty line between.
    """

    template: str = "{text}"
    system: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    chat: bool = False


@dataclass(frozen=True)
class TextUse:
    """What one variant does with texts.

    head          classify by a language model: the npz whose weights make labels of an embedding; None: the label texts are scored
    schema        extract: the JSON schema as JSON
    context       tokens there is room for; 0: what prompt, text and answer need
    """

    task: TextTask
    prompt: Prompt = Prompt()
    labels: tuple[str, ...] = ()
    head: Path | None = None
    schema: bytes = b""
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    max_chars: int = 2000
    context: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """An answer in words. `truncated` says what ended it too early: `deadline`, `max_tokens`, `context`; empty: it is whole."""

    text: str
    tokens: int
    truncated: str = ""


class TextEngine(Protocol):
    """A loaded variant for texts. Which of the three calls it answers, its `TextUse.task` says; another is BugError(`engine-misused`).

    `progress` is called now and then while a call takes long, from the calling thread, so that it is seen to progress.
    Raises BoardError: `runner-crashed`, `runner-out-of-memory`, `runner-hung`, `runner-garbled` where the process that runs the
    model failed over these texts twice; `runner-crash-loop` where it fails again and again, from then on at each call.
    """

    build: Build
    batch: int  # texts in one call that pay
    values: int  # numbers in an answer: labels, or the width of an embedding; 0 for words
    progress: Callable[[], None]

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Classify: give log-odds [n, labels], so that softmax(log-odds / temperature) are the scores."""

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed: give [n, values], each of length 1."""

    def write(self, texts: Sequence[str], deadline_ms: float) -> list[Written]:
        """Extract, generate: answer each text, `deadline_ms` for each at most. Of extract an answer is JSON that keeps the schema."""

    def mib(self) -> float:
        """Give the memory (PSS) of the process that runs the model, where it has one of its own; 0 where it has none."""

    def close(self) -> None:
        """Give the memory back. Further calls are a bug."""
