"""The trial of a release for texts: load a variant, with those that its cascade asks before it, hold them to their goldens, measure it.

A language model runs in this process, and not in one of its own as in the daemon: so what it does is confined with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edged.engines.choose import open_engine
from edged.engines.text import TextEngine, TextUse
from edged.errors import BoardError
from edged.fleet.trial_words import Done, TrialRequest
from edged.models.manifest import Variant
from edged.packing.text_goldens import DEADLINE_MS, run_text_golden
from edged.packing.texts import count_texts
from edged.packing.use import text_use
from edged.select.stages import asked_before
from edged.stream.loaded import LoadedModel
from edged.stream.text_inference import TextInference
from edged.trial.body import Say, Trial, hold_golden, not_a_number, raise_faults
from edged.trial.measure import measure_texts

_RUNNER_MIB = 27.0  # what the process takes that each language model has in the daemon, before the model: measured

OpenModel = Callable[[Path, TextUse], TextEngine]


class TextTrial(Trial):
    """A release for texts, and what opens language models here; where there is no runtime for them the others are tried."""

    def __init__(self, request: TrialRequest, say: Say, runtime: str, open_model: OpenModel | None) -> None:
        """Raises as `Trial`."""
        super().__init__(request, say)
        self._runtime, self._open_model = runtime, open_model

    def _try(self, variant: Variant) -> Done:
        stages = [*asked_before(self._release, variant.name), variant]
        start, busy_ns, goldens = time.monotonic_ns(), 0, 0
        for each in stages:
            self._at(f"checking the file of {each.name}", self._runtime)
            self._check(each)
            self._at(f"loading {each.name}{f' with {self._runtime}' if each.engine == 'llama' else ''}", self._runtime)
            model, engine = self._load(each)
            loaded = time.monotonic_ns()
            goldens += self._run_goldens(each, engine)
            busy_ns += time.monotonic_ns() - loaded
        load_ms = (time.monotonic_ns() - start - busy_ns) / 1e6
        self._at(f"measuring {variant.name}", self._runtime)
        speed = measure_texts(model, self._release.manifest.input, self._request.speedups.get(variant.name, 1.0))
        if not speed.finite:
            raise not_a_number(f"{variant.name} gives no finite result for any of {speed.runs} texts")
        mib = self._added_mib() + _RUNNER_MIB * sum(each.engine == "llama" for each in stages)
        return Done(variant.name, str(model.build), load_ms, mib, speed.p50_ms, speed.p95_ms, speed.runs, goldens)

    def _check(self, variant: Variant) -> None:
        """Hold the file of one variant to what it must be, as `edged pack` does."""
        alone = self._alone([variant])
        count_texts(alone)
        raise_faults(alone.document)

    def _load(self, variant: Variant) -> tuple[LoadedModel, TextEngine]:
        engines: list[TextEngine] = []

        def opener() -> TextEngine:
            engines.append(self._open(variant))
            return engines[-1]

        model = TextInference(self._release, variant, opener, self._request.deadline_ms or DEADLINE_MS)
        return model, engines[0]

    def _open(self, variant: Variant) -> TextEngine:
        path, use = self._release.path_of(variant), text_use(self._release, variant)
        if variant.engine != "llama":
            return open_engine(path, variant.engine, text=use)
        if self._open_model is None:
            raise BoardError("engine-missing", "no runtime for llama is installed", "pip install 'edged[text]'")
        return self._open_model(path, use)

    def _run_goldens(self, variant: Variant, engine: TextEngine) -> int:
        if variant.golden is None:
            return 0
        self._at(f"running the goldens of {variant.name}", self._runtime)
        path = self._release.path_of_file(variant.golden.file)
        compared = run_text_golden(engine, text_use(self._release, variant), path)
        return hold_golden(variant.name, engine.build, compared, variant.golden)
