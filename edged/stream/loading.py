"""Load the variant of a release that this board runs: the first that loads, in the order that somebody chose.

Where nobody did, as in a replay or a measurement, the best quality comes first, and of two equal
ones the smaller file. A variant below the release's minimum quality is never taken. The order in
the release means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from edged.errors import EdgedError, PublisherError
from edged.models.gguf import read_gguf
from edged.models.graph import read_graph
from edged.models.manifest import Release, Variant
from edged.stream.inference import Inference
from edged.stream.loaded import LoadedModel
from edged.stream.text_inference import TextInference, text_use

OpenEngine = Callable[..., Any]  # as `engines.choose.open_engine`: gives an Engine, or a TextEngine where `text` is given
DEADLINE_MS = 500.0  # as of a pipeline that does not say

# A file that is cut or forged is refused here: the runtime could crash on it. `linear` has no runtime but our own reader.
_CHECKS: dict[str, Callable[[Path], object]] = {"tflite": read_graph, "llama": read_gguf, "linear": lambda path: None}


def load_best(
    release: Release, open_engine: OpenEngine, order: Iterable[str] | None = None, *, deadline_ms: float = DEADLINE_MS
) -> tuple[LoadedModel, dict[str, EdgedError]]:
    """Load the first variant of `order` that does, by default of all; give it and why those before it did not load, by name.

    `open_engine` takes a file and the engine's name. `order` may choose the next one only when it is asked for, and raise.
    `deadline_ms` is what a text that is written may take. Raises the first variant's error where none loads,
    PublisherError(`quality-too-low`) where there is none to load, `no-such-variant`.
    """
    failed: dict[str, EdgedError] = {}
    allowed = in_order(release)
    for variant in allowed if order is None else map(release.variant, order):
        if variant not in allowed:
            continue
        try:
            return load_variant(release, variant, open_engine, deadline_ms), failed
        except EdgedError as error:
            failed[variant.name] = error
    if failed:
        raise next(iter(failed.values()))
    text = f"every variant of {release.manifest.name} is below its minimum quality"
    raise PublisherError("quality-too-low", text, "ask its publisher")


def load_variant(release: Release, variant: Variant, open_engine: OpenEngine, deadline_ms: float = DEADLINE_MS) -> LoadedModel:
    """Load one variant alone; raises what its engine and the check of its file raise."""
    path = release.path_of(variant)
    _CHECKS[variant.engine](path)
    if release.manifest.input.kind == "text":
        opener = partial(open_engine, path, variant.engine, text=text_use(release, variant))
        return TextInference(release, variant, opener, deadline_ms)
    return Inference(release, variant, partial(open_engine, path, variant.engine, stateful=release.manifest.input.stateful))


def in_order(release: Release) -> list[Variant]:
    """Give the variants that are here and may run, the one to try first at the front."""
    quality = release.manifest.quality
    sign = 1 if quality is None or quality.higher_is_better else -1
    minimum = None if quality is None or quality.minimum is None else sign * quality.minimum

    def rank(variant: Variant) -> tuple[bool, float, int]:
        known = variant.quality is not None
        return not known, -sign * (variant.quality or 0.0), release.path_of(variant).stat().st_size

    return sorted((v for v in release.here if minimum is None or v.quality is None or sign * v.quality >= minimum), key=rank)
