"""Build a pipeline from its options and its model's release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edged.clock import Clock
from edged.config import schema
from edged.errors import EdgedError
from edged.models.manifest import Release
from edged.records import Rejected
from edged.stream.channels import check_channels
from edged.stream.fitted import fit
from edged.stream.inference import Inference
from edged.stream.loading import OpenEngine, load_best
from edged.stream.pipeline import Pipeline, Sink

__all__ = ["Around", "build_pipeline", "check_channels", "fit"]


@dataclass
class Around:
    """What all pipelines of a daemon share. `run` is unique to this run of the daemon."""

    device: str
    fleet: str
    run: str
    clock: Clock
    open_engine: OpenEngine
    on_rejected: Callable[[str, bytes, bytes | None, Rejected], None]
    not_loaded: dict[tuple[str, str], EdgedError] = field(default_factory=dict)  # by pipeline and variant


def build_pipeline(
    options: schema.Pipeline, model: Release | Inference, sinks: list[Sink], wake: Callable[[], None], around: Around
) -> Pipeline:
    """Put the pipeline together, with a loaded model, or with the best variant of a release.

    Raises OperatorError(`channels-do-not-match`), PublisherError(`text-model`), and what
    loading raises; a loaded model is then still the caller's.
    """
    check_channels(options, model.manifest)
    if isinstance(model, Release):
        inference, failed = load_best(model, around.open_engine)
        around.not_loaded.update({(options.name, variant): error for variant, error in failed.items()})
    else:
        inference = model
    return Pipeline(
        options,
        inference,
        sinks,
        around.clock,
        device=around.device,
        run=around.run,
        wake=wake,
        on_rejected=around.on_rejected,
    )
