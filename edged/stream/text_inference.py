"""A loaded variant for texts with its task: texts in, verdicts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.text import TextEngine, Written
from edged.errors import BoardError, EdgedError, PublisherError
from edged.models.manifest import Input, Manifest, Release, Variant
from edged.records import ModelRef
from edged.stream.loaded import Fault
from edged.stream.postprocess import MODEL_NAN, State, Verdict, make_task
from edged.stream.tasks import softmax
from edged.stream.written import WRITING, WrittenTask

_LOST = "runner-crash-loop"


class TextInference:
    """One variant of one release on texts: a `LoadedModel`."""

    def __init__(self, release: Release, variant: Variant, open_engine: Callable[[], TextEngine], deadline_ms: float) -> None:
        """Load the variant; raises what the engine raises. An answer in words takes at most `deadline_ms` from when its turn came."""
        manifest = release.manifest
        self.manifest: Manifest = manifest
        self._task = WrittenTask(manifest) if manifest.task in WRITING else make_task(manifest)
        self.new_state = self._task.new_state
        self._temperature = variant.temperature
        self._deadline_ms = deadline_ms
        self._lost: EdgedError | None = None
        self._engine = open_engine()
        self.at_once = self._engine.batch
        self.build = self._engine.build
        self.model = ModelRef(manifest.name, manifest.version, manifest.release, variant.name, self.build.engine)

    @property
    def values(self) -> int:
        """Give how many numbers the model answers for one text; 0 for words."""
        return self._engine.values

    def watch(self, progress: Callable[[], None], fault: Fault) -> None:
        """Have `progress` called now and then while a call takes long."""
        self._engine.progress = progress

    def scores(self, texts: Sequence[str] | NDArray[np.object_], slots: NDArray[np.intp]) -> NDArray[np.float64] | list[Written]:
        """Answer texts [n], of which the engine gets no more than `max_chars` characters.

        Gives calibrated scores [n, labels] (classify), vectors [n, values] (embed), or what was written. Raises what the engine
        raises, PublisherError(`output-mismatch`).
        """
        taken = [shortened(text, self.manifest.input) for text in texts]
        try:
            return self._answers(taken)
        except BoardError as error:
            if error.code == _LOST:
                self._lost = error
            raise

    def verdict(self, state: State, row: Any, end_ns: int) -> Verdict | str:
        """Judge the answer to one text of a stream; the reason that is counted where it is none."""
        return self._task.finish(state, row, end_ns) or MODEL_NAN

    def lost(self) -> dict[str, EdgedError]:
        """Give this variant where its process failed again and again."""
        return {self.model.variant: self._lost} if self._lost else {}

    def mib(self) -> float:
        """Give the memory (PSS) of the process that runs the model, 0 where it has none of its own."""
        return self._engine.mib()

    def forget(self, slot: int) -> None:
        """Do nothing: an engine for texts keeps nothing of a stream."""

    def close(self) -> None:
        """Give the memory back."""
        self._engine.close()

    def _answers(self, taken: list[str]) -> NDArray[np.float64] | list[Written]:
        if self.manifest.task in WRITING:
            return self._engine.write(taken, self._deadline_ms)
        if self.manifest.task == "embed":
            return self._engine.vectors(taken).astype(np.float64)
        odds = self._engine.scores(taken)
        if odds.shape != (len(taken), len(self.manifest.output.labels)):
            text = (
                f"the model gives scores {list(odds.shape)} for {len(taken)} texts; {len(self.manifest.output.labels)} labels need as many"
            )
            raise PublisherError("output-mismatch", text, "mend `labels` of model.toml, or the model")
        with np.errstate(all="ignore"):
            return softmax(odds / self._temperature)


def shortened(text: str, given: Input) -> str:
    """Give the part of a text that the model gets: `max_chars` characters of one end, as the release says."""
    if len(text) <= given.max_chars:
        return text
    return text[: given.max_chars] if given.keep == "start" else text[-given.max_chars :]
