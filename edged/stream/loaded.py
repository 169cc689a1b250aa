"""What a pipeline needs of a loaded model, whatever goes in: windows or texts, one variant or a cascade of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Build
from edged.errors import EdgedError
from edged.models.schema import Manifest
from edged.records import ModelRef
from edged.stream.postprocess import State, Verdict

Fault = Callable[[EdgedError], None]
Rows = Sequence[Any] | NDArray[np.float64]  # one for each input


class LoadedModel(Protocol):
    """A model in memory. Used by one thread."""

    manifest: Manifest
    model: ModelRef
    build: Build
    at_once: int  # inputs in one call that pay

    @property
    def values(self) -> int:
        """Give how many numbers the model answers for one input; 0 for words."""

    @property
    def new_state(self) -> Callable[[], State]:
        """Give what makes the state of a new stream."""

    def watch(self, progress: Callable[[], None], fault: Fault) -> None:
        """Have `progress` called now and then while a call takes long, and `fault` where a part fails that others stand in for."""

    def scores(self, inputs: NDArray[Any], slots: NDArray[np.intp]) -> Rows:
        """Answer inputs, each of the stream in that slot; give a row for each."""

    def verdict(self, state: State, row: Any, end_ns: int) -> Verdict | str:
        """Judge one row that `scores` gave, of an input that ended at `end_ns`; a word where it is none: the reason that is counted."""

    def lost(self) -> dict[str, EdgedError]:
        """Give the stages or variants whose process failed again and again, and answers no more, by name, and why."""

    def mib(self) -> float:
        """Give the memory (PSS) of processes that run the model beside this one, 0 where there is none."""

    def forget(self, slot: int) -> None:
        """Let a stream's state in the engine go."""

    def close(self) -> None:
        """Give the memory back."""
