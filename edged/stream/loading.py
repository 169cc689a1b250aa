"""Load the variant of a release that this board runs: the first that loads, in the order that somebody chose.

Where nobody did, as in a replay or a measurement, the best quality comes first, and of two equal
ones the smaller file; of a cascade, its later stages come first. A variant below the release's minimum quality is never taken.
The order in the release means nothing.

A variant that is a stage of the release's cascade brings those before it, and models behind it that are not of this release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from edged.clock import Clock, SystemClock
from edged.errors import BoardError, EdgedError, OperatorError, PublisherError
from edged.models.gguf import read_gguf
from edged.models.graph import read_graph
from edged.models.manifest import Release, Variant
from edged.models.schema import Stage
from edged.packing.use import text_use
from edged.stream.budget import Budget
from edged.stream.cascade import CascadeInference, LoadedStage
from edged.stream.inference import Inference
from edged.stream.loaded import LoadedModel
from edged.stream.text_inference import TextInference

OpenEngine = Callable[..., Any]  # as `engines.choose.open_engine`: gives an Engine, or a TextEngine where `text` is given
Failed = dict[str, EdgedError]  # by variant or stage

# A file that is cut or forged is refused here: the runtime could crash on it. `linear` has no runtime but our own reader.
_CHECKS: dict[str, Callable[[Path], object]] = {"tflite": read_graph, "llama": read_gguf, "linear": lambda path: None}


def _no_others(model: str) -> Release:
    raise OperatorError("no-such-model", f"there is no model `{model[:64]}` here", "install it on the board")


@dataclass(frozen=True)
class Usage:
    """What a model is loaded for, as far as it does not show from the release. By default nobody in particular.

    deadline_ms   what a text that is written may take
    urgency       the class of the pipeline
    threads       that an engine for texts may work with; None: what it likes
    find          gives the release of another model that serves here, for a cascade; raises OperatorError(`no-such-model`)
    escalates     somebody can be asked what no stage of a cascade is sure of
    clock         what the budgets of a cascade go by
    """

    deadline_ms: float = 500.0
    urgency: str = "normal"
    threads: int | None = None
    find: Callable[[str], Release] = _no_others
    escalates: bool = False
    clock: Clock = field(default_factory=SystemClock)


def load_best(
    release: Release, open_engine: OpenEngine, order: Iterable[str] | None = None, usage: Usage | None = None
) -> tuple[LoadedModel, Failed]:
    """Load the first variant of `order` that does, by default of all; give it and why those before it did not load, by name.

    Other stages of a cascade that do not load are among them; the cascade does without. `open_engine` takes a file and the
    engine's name. `order` may choose the next one only when it is asked for, and raise. Raises the first variant's error where
    none loads, PublisherError(`quality-too-low`) where there is none to load, `no-such-variant`.
    """
    failed: Failed = {}
    allowed = in_order(release)
    for variant in allowed if order is None else map(release.variant, order):
        if variant not in allowed:
            continue
        try:
            return _load(release, variant, open_engine, usage or Usage(), failed), failed
        except EdgedError as error:
            failed[variant.name] = error
    if failed:
        raise next(iter(failed.values()))
    text = f"every variant of {release.manifest.name} is below its minimum quality"
    raise PublisherError("quality-too-low", text, "ask its publisher")


def load_variant(release: Release, variant: Variant, open_engine: OpenEngine, usage: Usage | None = None) -> LoadedModel:
    """Load one variant alone; raises what its engine and the check of its file raise."""
    usage = usage or Usage()
    path = release.path_of(variant)
    _CHECKS[variant.engine](path)
    if release.manifest.input.kind == "text":
        use = text_use(release, variant)
        opener = partial(open_engine, path, variant.engine, text=use, threads=usage.threads, urgency=usage.urgency)
        return TextInference(release, variant, opener, usage.deadline_ms)
    return Inference(release, variant, partial(open_engine, path, variant.engine, stateful=release.manifest.input.stateful))


def stages_with(release: Release, variant: str) -> list[Stage]:
    """Give the stages of the cascade that a variant brings, itself among them; none where it is no stage."""
    stages = release.manifest.cascade.stages if release.manifest.cascade else []
    names, own = [stage.use for stage in stages], {each.name for each in release.manifest.variants}
    if variant not in names:
        return []
    end = names.index(variant) + 1
    while end < len(stages) and names[end] not in own:
        end += 1
    return stages[:end]


def _load(release: Release, variant: Variant, open_engine: OpenEngine, usage: Usage, failed: Failed) -> LoadedModel:
    stages = stages_with(release, variant.name)
    with ExitStack() as closing:  # what is loaded, where another stage makes it of no use
        chosen = load_variant(release, variant, open_engine, usage)
        closing.callback(chosen.close)
        loaded: list[LoadedStage] = []
        for stage in stages:
            try:
                model = chosen if stage.use == variant.name else _load_other(release, stage.use, open_engine, usage)
            except EdgedError as error:
                failed[stage.use] = error
                continue
            if model is not chosen:
                closing.callback(model.close)
            loaded.append(LoadedStage(stage.use, model, stage.accept, Budget(stage.per_hour, usage.clock)))
        whole = CascadeInference(release.manifest, loaded, chosen, usage.clock, usage.escalates) if loaded else chosen
        closing.pop_all()
        return whole


def _load_other(release: Release, use: str, open_engine: OpenEngine, usage: Usage) -> LoadedModel:
    """Load a stage that is not the variant chosen: another of the release, or the best of another model."""
    if use in {each.name for each in release.manifest.variants}:
        variant = release.variant(use)
        if not release.has(variant):
            raise BoardError("variant-absent", f"the files of {use} are not on this board", "install the whole release")
        return load_variant(release, variant, open_engine, usage)
    other = usage.find(use)
    return load_variant(other, _best(other), open_engine, usage)


def _best(release: Release) -> Variant:
    for variant in in_order(release):
        return variant
    raise PublisherError("quality-too-low", f"no variant of {release.manifest.name} may run here", "ask its publisher")


def in_order(release: Release) -> list[Variant]:
    """Give the variants that are here and may run, the one to try first at the front."""
    quality = release.manifest.quality
    sign = 1 if quality is None or quality.higher_is_better else -1
    minimum = None if quality is None or quality.minimum is None else sign * quality.minimum

    cascade = release.manifest.cascade
    turn = {stage.use: i for i, stage in enumerate(cascade.stages if cascade else [])}

    def rank(variant: Variant) -> tuple[int, bool, float, int]:
        known = variant.quality is not None
        return -turn.get(variant.name, -1), not known, -sign * (variant.quality or 0.0), release.path_of(variant).stat().st_size

    return sorted((v for v in release.here if minimum is None or v.quality is None or sign * v.quality >= minimum), key=rank)
