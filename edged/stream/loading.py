"""Choose the variant of a release that this board runs, and load it.

Until memory and time are predicted, the rule is: the best quality first, the smaller file
where two are equal, and the next one where a variant does not load. A variant below the
release's minimum quality is never taken. The order in the release means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edged.engines.base import Engine
from edged.errors import EdgedError, PublisherError
from edged.models.graph import read_graph
from edged.models.manifest import Release, Variant
from edged.stream.inference import Inference

OpenEngine = Callable[..., Engine]  # as `engines.choose.open_engine`


def load_best(release: Release, open_engine: OpenEngine, only: str | None = None) -> tuple[Inference, dict[str, EdgedError]]:
    """Load the best variant, or the one called `only`; give it and why the better ones did not load, by name.

    `open_engine` takes a file and the engine's name. Raises the first variant's error where
    none loads, PublisherError(`quality-too-low`) where the minimum leaves none, `no-such-variant`.
    """
    failed: dict[str, EdgedError] = {}
    wanted = None if only is None else release.variant(only)
    for variant in in_order(release):
        if wanted not in (None, variant):
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
    which = f"variant {only}" if wanted else "every variant"
    raise PublisherError("quality-too-low", f"{which} of {release.manifest.name} is below its minimum quality", "ask its publisher")


def in_order(release: Release) -> list[Variant]:
    """Give the variants that may run, the one to try first at the front."""
    quality = release.manifest.quality
    sign = 1 if quality is None or quality.higher_is_better else -1
    minimum = None if quality is None or quality.minimum is None else sign * quality.minimum

    def rank(variant: Variant) -> tuple[bool, float, int]:
        known = variant.quality is not None
        return not known, -sign * (variant.quality or 0.0), release.path_of(variant).stat().st_size

    allowed = [v for v in release.manifest.variants if minimum is None or v.quality is None or sign * v.quality >= minimum]
    return sorted(allowed, key=rank)
