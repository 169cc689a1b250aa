"""What all trials share: read the manifest, try variants in order until one loads, put the blame where it belongs.

Runs confined, see `confine.py`. The errors are those of the parts it calls, but where the model is to blame for
what they take for a fault of the board.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edged.config.check import Document
from edged.errors import EdgedError, PublisherError
from edged.fleet.trial_words import MOST_TEXT, At, Done, PassedOver, TrialRequest
from edged.models.manifest import Examined, Golden, Manifest, Release, Variant, parse_manifest, read_manifest
from edged.packing.goldens import Compared, why_not
from edged.pss import pss_mib

Say = Callable[[Any], None]

# Where a variant fails so, another one may load.
_NEXT = ("engine-missing", "model-not-loadable")
_UNREADABLE = ("tflite-malformed", "tflite-unreadable", "gguf-malformed", "gguf-unsupported", "npz-malformed", "model-file-missing")


class Trial(ABC):
    """A release, and who is told."""

    def __init__(self, request: TrialRequest, say: Say) -> None:
        """Read the manifest; raises as `read_manifest`, and the first fault where it has any."""
        self._request, self._say = request, say
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

    @abstractmethod
    def _try(self, variant: Variant) -> Done:
        """Load a variant, run its goldens, measure it."""

    def _try_or_pass(self, variant: Variant) -> Done | EdgedError:
        """Give what was measured, or why it does not load; raise what ends the trial."""
        try:
            return self._try(variant)
        except EdgedError as error:
            blamed = _of_the_model(error)
        if blamed.code not in _NEXT:
            raise blamed
        return blamed

    def _alone(self, variants: list[Variant]) -> Examined:
        """Give the release as if it had these variants only, to be checked as `edged pack` does."""
        document, manifest = parse_manifest(self._data, "model.toml")
        assert manifest is not None
        alone: Manifest = msgspec.structs.replace(manifest, variants=variants)
        return Examined(document, alone, self._release.files, self._release.digest)

    def _at(self, stage: str, runtime: str, portable: bool = False) -> None:
        self._say(At(stage, runtime, portable))

    def _added_mib(self) -> float:
        return pss_mib() - self._before_mib


def raise_faults(document: Document, harmless: str = "") -> None:
    """Raise the first fault, but for those of one code: as one of a variant that does not load, where that is what it means."""
    for fault in document.faults:
        if fault.code in _NEXT or fault.code in _UNREADABLE:
            raise PublisherError(fault.code if fault.code in _NEXT else "model-not-loadable", fault.text, fault.hint)
        if fault.code != harmless:
            raise PublisherError("tensors-do-not-fit", fault.text, fault.hint)


def hold_golden(name: str, build: object, compared: Compared, golden: Golden) -> int:
    """Give how many goldens there were; PublisherError (`model-nan`, `golden-differs`) where the answers are others."""
    if compared.error == float("inf"):
        raise not_a_number(f"{name} gives no finite result for golden {compared.row}")
    if wrong := why_not(compared, golden):
        text = f"{name} on {build} {wrong}"
        raise PublisherError("golden-differs", text, "compute the goldens from this file, or widen the tolerance")
    return compared.rows


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


def not_a_number(text: str) -> PublisherError:
    """Make the error of a model that answers with nothing that is a number."""
    return PublisherError("model-nan", text, "look for a division by zero, a logarithm or a root of what is negative")
