"""The trial itself: load a release's variant as the daemon would, hold it to its goldens, measure it.

Runs confined, see `confine.py`. The errors are those of the parts it calls, but where the model is to blame for
what they take for a fault of the board.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edged.board.pss import pss_mib
from edged.engines.base import Engine
from edged.engines.choose import open_engine
from edged.errors import EdgedError, PublisherError
from edged.fleet.trial_words import MOST_TEXT, At, Done, PassedOver, TrialRequest
from edged.models.manifest import Examined, Manifest, Release, Variant, parse_manifest, read_manifest
from edged.packing.check import check_graphs
from edged.packing.goldens import run_golden, why_not
from edged.stream.inference import Inference
from edged.trial.measure import measure

Say = Callable[[Any], None]

# Where a variant fails so, another one may load.
_NEXT = ("engine-missing", "model-not-loadable")
_UNREADABLE = ("tflite-malformed", "tflite-unreadable", "model-file-missing")
_OF_ANOTHER_VARIANT = "not-stateful"


class Trial:
    """A release, the runtime it is tried with, and who is told."""

    def __init__(self, request: TrialRequest, runtime: str, module: Any, say: Say) -> None:
        """Read the manifest; raises as `read_manifest`, and the first fault where it has any."""
        self._request, self._runtime, self._module, self._say = request, runtime, module, say
        self._data = read_manifest(Path(request.manifest))
        document, manifest = parse_manifest(self._data, "model.toml")
        if document.faults or manifest is None:
            fault = document.faults[0]
            raise PublisherError("release-faults", f"model.toml: {fault.text}", fault.hint)
        files = {name: Path(path) for name, path in request.files.items()}
        self._release = Release(manifest, Path(request.manifest).parent, hashlib.sha256(self._data).hexdigest(), files)
        self._before_mib = pss_mib()

    def run(self) -> Done:
        """Try the variants in order until one loads, and give what was measured of it; raises what ends the trial."""
        first: EdgedError | None = None
        for name in self._request.variants:
            tried = self._try_or_pass(self._release.variant(name))
            if isinstance(tried, Done):
                return tried
            self._say(PassedOver(name, tried.code, tried.text[:MOST_TEXT]))
            first = first or tried
        raise first or PublisherError("no-such-variant", "no variant was named to be tried")

    def _try_or_pass(self, variant: Variant) -> Done | EdgedError:
        """Give what was measured, or why it does not load; raise what ends the trial."""
        try:
            return self._try(variant)
        except EdgedError as error:
            blamed = _of_the_model(error)
        if blamed.code not in _NEXT:
            raise blamed
        return blamed

    def _try(self, variant: Variant) -> Done:
        path = self._release.path_of(variant)
        self._at(f"checking the graph of {variant.name}")
        self._check(variant)
        self._at(f"opening {variant.name} with {self._runtime}", portable=True)
        self._probe(path)
        self._at(f"loading {variant.name} with {self._runtime}")
        engines: list[Engine] = []
        stateful = self._release.manifest.input.stateful

        def opener() -> Engine:
            engines.append(open_engine(path, variant.engine, prefer=self._runtime, stateful=stateful))
            return engines[-1]

        start = time.monotonic_ns()
        inference = Inference(self._release, variant, opener)
        load_ms = (time.monotonic_ns() - start) / 1e6
        goldens = self._run_goldens(variant, engines[0])
        self._at(f"measuring {variant.name}")
        speed = measure(inference, self._release.manifest.input)
        if not speed.finite:
            raise _not_a_number(f"{variant.name} gives no finite result for any of {speed.windows} windows")
        added = pss_mib() - self._before_mib
        return Done(variant.name, str(inference.build), load_ms, added, speed.p50_ms, speed.p95_ms, speed.windows, goldens)

    def _check(self, variant: Variant) -> None:
        """Hold the graph of one variant to the manifest, as `edged pack` does."""
        document, manifest = parse_manifest(self._data, "model.toml")
        assert manifest is not None
        alone: Manifest = msgspec.structs.replace(manifest, variants=[variant])
        check_graphs(Examined(document, alone, self._release.files, self._release.digest))
        for fault in document.faults:
            if fault.code in _NEXT or fault.code in _UNREADABLE:
                raise PublisherError(fault.code if fault.code in _NEXT else "model-not-loadable", fault.text, fault.hint)
            if fault.code != _OF_ANOTHER_VARIANT:
                raise PublisherError("tensors-do-not-fit", fault.text, fault.hint)

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
        self._at(f"running the goldens of {variant.name}")
        compared = run_golden(engine, self._release.path_of_file(variant.golden.file))
        if math.isinf(compared.error):
            raise _not_a_number(f"{variant.name} gives no finite result for golden {compared.row}")
        if wrong := why_not(compared, variant.golden):
            text = f"{variant.name} on {engine.build} {wrong}"
            raise PublisherError("golden-differs", text, "compute the goldens from this file, or widen the tolerance")
        return compared.rows

    def _at(self, stage: str, portable: bool = False) -> None:
        self._say(At(stage, self._runtime, portable))


def _of_the_model(error: EdgedError) -> EdgedError:
    """Put the blame on the release where a part, which does not know of trials, put it on the board."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return PublisherError("trial-memory", f"{error.text}: out of the trial's memory", "make the model smaller")
        cause = cause.__cause__
    if error.code == "infer-failed":
        return PublisherError("infer-failed", error.text, "run it where the model is made, with the same runtime")
    if error.code == "tensors-unsupported":
        return PublisherError("tensors-do-not-fit", error.text, error.hint)
    return error


def _not_a_number(text: str) -> PublisherError:
    return PublisherError("model-nan", text, "look for a division by zero, a logarithm or a root of what is negative")
