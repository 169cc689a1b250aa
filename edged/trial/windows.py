"""The trial of a release for windows: load its graph as the daemon would, hold it to its goldens, measure it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edged.engines.base import Engine
from edged.engines.choose import open_engine
from edged.fleet.trial_words import Done, TrialRequest
from edged.models.manifest import Variant
from edged.packing.check import check_graphs
from edged.packing.goldens import run_golden
from edged.stream.inference import Inference
from edged.trial.body import Say, Trial, hold_golden, not_a_number, raise_faults
from edged.trial.measure import measure_windows

_OF_ANOTHER_VARIANT = "not-stateful"


class WindowTrial(Trial):
    """A release for windows, and the runtime it is tried with."""

    def __init__(self, request: TrialRequest, say: Say, runtime: str, module: Any) -> None:
        """`module` is the runtime's interpreter, imported; raises as `Trial`."""
        super().__init__(request, say)
        self._runtime, self._module = runtime, module

    def _try(self, variant: Variant) -> Done:
        path = self._release.path_of(variant)
        self._at(f"checking the graph of {variant.name}", self._runtime)
        self._check(variant)
        self._at(f"opening {variant.name} with {self._runtime}", self._runtime, portable=True)
        self._probe(path)
        self._at(f"loading {variant.name} with {self._runtime}", self._runtime)
        engines: list[Engine] = []
        stateful = self._release.manifest.input.stateful

        def opener() -> Engine:
            engines.append(open_engine(path, variant.engine, prefer=self._runtime, stateful=stateful))
            return engines[-1]

        start = time.monotonic_ns()
        inference = Inference(self._release, variant, opener)
        load_ms = (time.monotonic_ns() - start) / 1e6
        goldens = self._run_goldens(variant, engines[0])
        self._at(f"measuring {variant.name}", self._runtime)
        speed = measure_windows(inference, self._release.manifest.input)
        if not speed.finite:
            raise not_a_number(f"{variant.name} gives no finite result for any of {speed.runs} windows")
        return Done(variant.name, str(inference.build), load_ms, self._added_mib(), speed.p50_ms, speed.p95_ms, speed.runs, goldens)

    def _check(self, variant: Variant) -> None:
        """Hold the graph of one variant to the manifest, as `edged pack` does."""
        alone = self._alone([variant])
        check_graphs(alone)
        raise_faults(alone.document, harmless=_OF_ANOTHER_VARIANT)

    def _probe(self, path: Path) -> None:
        """Do what `engines/probe.py` does: if this is what kills, the daemon too would take another runtime."""
        try:
            self._module.Interpreter(model_path=str(path), num_threads=1).allocate_tensors()
        except MemoryError:
            raise
        except Exception:
            return  # loading says it better

    def _run_goldens(self, variant: Variant, engine: Engine) -> int:
        if variant.golden is None:
            return 0
        self._at(f"running the goldens of {variant.name}", self._runtime)
        compared = run_golden(engine, self._release.path_of_file(variant.golden.file))
        return hold_golden(variant.name, engine.build, compared, variant.golden)
