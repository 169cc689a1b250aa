"""Load the variant of a release that this board runs: the first that loads, in the order that somebody chose.

Where nobody did, as in a replay or a measurement, the best quality comes first, and of two equal
ones the smaller file. A variant below the release's minimum quality is never taken. The order in
the release means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from edged.engines.base import Engine
from edged.errors import EdgedError, PublisherError
from edged.models.graph import read_graph
from edged.models.manifest import Release, Variant
from edged.stream.inference import Inference

OpenEngine = Callable[..., Engine]  # as `engines.choose.open_engine`


def load_best(release: Release, open_engine: OpenEngine, order: Iterable[str] | None = None) -> tuple[Inference, dict[str, EdgedError]]:
    """Load the first variant of `order` that does, by default of all; give it and why those before it did not load, by name.

    `open_engine` takes a file and the engine's name. `order` may choose the next one only when it is asked for, and raise. Raises
    the first variant's error where none loads, PublisherError(`quality-too-low`) where there is none to load, `no-such-variant`.
    """
    failed: dict[str, EdgedError] = {}
    allowed = in_order(release)
    for variant in allowed if order is None else map(release.variant, order):
        if variant not in allowed:
            continue
        path = release.path_of(variant)
        try:
            read_graph(path)  # a file that is cut or forged is refused here: the runtime could crash on it
            opener = partial(open_engine, path, variant.engine, stateful=release.manifest.input.stateful)
            return Inference(release, variant, opener), failed
        except EdgedError as error:
            failed[variant.name] = error
    if failed:
        raise next(iter(failed.values()))
    text = f"every variant of {release.manifest.name} is below its minimum quality"
    raise PublisherError("quality-too-low", text, "ask its publisher")


def in_order(release: Release) -> list[Variant]:
    """Give the variants that are here and may run, the one to try first at the front."""
    quality = release.manifest.quality
    sign = 1 if quality is None or quality.higher_is_better else -1
    minimum = None if quality is None or quality.minimum is None else sign * quality.minimum

    def rank(variant: Variant) -> tuple[bool, float, int]:
        known = variant.quality is not None
        return not known, -sign * (variant.quality or 0.0), release.path_of(variant).stat().st_size

    return sorted((v for v in release.here if minimum is None or v.quality is None or sign * v.quality >= minimum), key=rank)
