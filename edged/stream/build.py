"""Build a pipeline from its options and its model's release."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from edged.clock import Clock
from edged.config import schema
from edged.errors import EdgedError
from edged.models.manifest import Release
from edged.records import Rejected
from edged.stream.channels import check_channels
from edged.stream.escalation import Escalation
from edged.stream.fitted import fit
from edged.stream.loaded import LoadedModel
from edged.stream.loading import OpenEngine, Usage, load_best
from edged.stream.pipeline import Pipeline, Sink

__all__ = ["Around", "build_pipeline", "check_channels", "fit"]

ChooseOrder = Callable[[schema.Pipeline, Release], Iterable[str]]


@dataclass
class Around:
    """What all pipelines of a daemon share. `run` is unique to this run of the daemon."""

    device: str
    fleet: str
    run: str
    clock: Clock
    open_engine: OpenEngine
    on_rejected: Callable[[str, bytes, bytes | None, Rejected], None]
    order: ChooseOrder | None = None  # which variants to try; None: the best quality first
    find: Callable[[str], Release] | None = None  # gives the release of another model that serves, see `Usage`
    threads: int | None = None  # of one engine for texts
    not_loaded: dict[tuple[str, str], EdgedError] = field(default_factory=dict)  # by pipeline and variant

    def order_of(self, options: schema.Pipeline, release: Release) -> Iterable[str] | None:
        """Give the variants of a release that a pipeline is to try."""
        return self.order(options, release) if self.order is not None else None

    def usage_of(self, options: schema.Pipeline) -> Usage:
        """Say what a pipeline loads a model for."""
        escalates = options.escalate is not None
        usage = Usage(options.deadline_ms, options.class_, self.threads, escalates=escalates, clock=self.clock)
        return replace(usage, find=self.find) if self.find else usage

    def load(
        self, options: schema.Pipeline, release: Release, open_engine: OpenEngine | None = None, order: Iterable[str] | None = None
    ) -> LoadedModel:
        """Load the variant of a release that a pipeline is to run, and note those that did not load; raises as `load_best`."""
        wanted = self.order_of(options, release) if order is None else order
        inference, failed = load_best(release, open_engine or self.open_engine, wanted, self.usage_of(options))
        for key in [key for key in self.not_loaded if key[0] == options.name]:
            del self.not_loaded[key]
        self.not_loaded.update({(options.name, variant): error for variant, error in failed.items()})
        return inference


def build_pipeline(
    options: schema.Pipeline,
    model: Release | LoadedModel,
    sinks: list[Sink],
    wake: Callable[[], None],
    around: Around,
    escalation: Escalation | None = None,
) -> Pipeline:
    """Put the pipeline together, with a loaded model, or with the best variant of a release.

    Raises as `check_channels` and as loading; a loaded model is then still the caller's.
    """
    check_channels(options, model.manifest)
    inference = around.load(options, model) if isinstance(model, Release) else model
    return Pipeline(
        options,
        inference,
        sinks,
        around.clock,
        device=around.device,
        run=around.run,
        wake=wake,
        on_rejected=around.on_rejected,
        escalation=escalation,
    )
