"""A loaded variant with its preprocessing and its task: windows in, verdicts out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Engine
from edged.errors import EdgedError, PublisherError
from edged.models.manifest import Manifest, Release, Variant
from edged.preprocess.chain import compile_chain
from edged.records import ModelRef
from edged.stream.loaded import Fault
from edged.stream.postprocess import MODEL_NAN, State, Verdict, make_task
from edged.stream.windows import CUT_WINDOWS


class Inference:
    """One variant of one release on windows: a `LoadedModel`.

    A graph with state gets an engine for each stream, opened when the stream begins; every
    other variant one engine for all.
    """

    at_once = CUT_WINDOWS

    def __init__(self, release: Release, variant: Variant, open_engine: Callable[[], Engine]) -> None:
        """Load the variant; raises what the engine raises, or PublisherError(`tensors-do-not-fit`)."""
        manifest = release.manifest
        self.manifest: Manifest = manifest
        self.stateful = manifest.input.stateful
        self.new_state = (task := make_task(manifest)).new_state
        self._task = task
        self._open = open_engine
        self._engine = open_engine()
        self._engines: dict[int, Engine] = {}
        self._chain = _fitting_chain(manifest, self._engine)
        build = self._engine.build
        self.build = build
        self.model = ModelRef(manifest.name, manifest.version, manifest.release, variant.name, build.engine)

    @property
    def values(self) -> int:
        """Give how many numbers the model answers for one window."""
        return self._engine.output.size

    def watch(self, progress: Callable[[], None], fault: Fault) -> None:
        """Do nothing: a call with windows does not take long."""

    def scores(self, windows: NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """Run windows float32 [n, samples, channels] through model and task; give [n] or [n, k]."""
        inputs = self._chain(windows)
        shaped = inputs.reshape((len(inputs), *self._engine.input.shape))
        raw = self._each(shaped, slots) if self.stateful else self._engine.infer(shaped)
        return self._task.outputs(shaped, raw)

    def verdict(self, state: State, row: Any, end_ns: int) -> Verdict | str:
        """Judge the scores of one window of a stream; MODEL_NAN where the model gave no number."""
        return self._task.finish(state, row, end_ns) or MODEL_NAN

    def lost(self) -> dict[str, EdgedError]:
        """Give nothing: windows are run in this process."""
        return {}

    def mib(self) -> float:
        """Give 0, as well."""
        return 0.0

    def forget(self, slot: int) -> None:
        """Let a stream's engine state go: at a gap, and when its slot goes to another."""
        if slot in self._engines:
            self._engines[slot].reset()

    def close(self) -> None:
        """Give the memory back."""
        for engine in (self._engine, *self._engines.values()):
            engine.close()

    def _each(self, inputs: NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        rows = []
        for i, slot in enumerate(slots.tolist()):
            engine = self._engines.get(slot)
            if engine is None:
                engine = self._engines[slot] = self._open()
            rows.append(engine.infer(inputs[i : i + 1]))
        return np.concatenate(rows)


def _fitting_chain(manifest: Manifest, engine: Engine) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    given = manifest.input
    chain = compile_chain(given.preprocess, given.samples, len(given.channels), given.rate_hz, given.channels)
    if int(np.prod(chain.output_shape)) != engine.input.size:
        text = f"the preprocessing of {manifest.name} gives {list(chain.output_shape)}, the tensor wants {list(engine.input.shape)}"
        raise PublisherError("tensors-do-not-fit", text, "run `edged pack` on the release; it says what to mend")
    return chain
