"""Build a pipeline from its options and its model's release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath

from edged.clock import Clock
from edged.config import schema
from edged.errors import EdgedError, OperatorError, PublisherError
from edged.models.manifest import Manifest, Release
from edged.mqtt.topics import Template
from edged.records import Rejected
from edged.stream.decoders.choose import make_decoder
from edged.stream.loading import OpenEngine, load_best
from edged.stream.pipeline import Pipeline, Sink
from edged.stream.sources.pipeline import PipelineSource
from edged.stream.streams import Labels

LabelsOf = Callable[[bytes], Labels | None]


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


def build_pipeline(options: schema.Pipeline, release: Release, sinks: list[Sink], wake: Callable[[], None], around: Around) -> Pipeline:
    """Load the release's best variant and put the pipeline together.

    Raises OperatorError(`channels-do-not-match`), PublisherError(`text-model`), and what
    loading raises.
    """
    manifest = release.manifest
    check_channels(options, manifest)
    inference, failed = load_best(release, around.open_engine)
    around.not_loaded.update({(options.name, variant): error for variant, error in failed.items()})
    return Pipeline(
        options,
        inference,
        make_decoder(options.decoder, manifest.input.rate_hz),
        labels_reader(options.source),
        sinks,
        around.clock,
        device=around.device,
        run=around.run,
        wake=wake,
        on_rejected=around.on_rejected,
    )


def labels_reader(source: schema.Source) -> LabelsOf:
    """Give what reads a topic's labels, by the kind of source."""
    if isinstance(source, schema.MqttSource):
        return Template(source.topic).labels_of
    if isinstance(source, schema.PipelineSource):
        return PipelineSource.labels_of
    if isinstance(source, schema.FileSource):
        return lambda topic: (("file", PurePath(topic.decode("utf-8", "replace")).name),)
    return lambda topic: ()


def check_channels(options: schema.Pipeline, manifest: Manifest) -> None:
    """Hold the decoder's channels against the model's.

    Raises OperatorError(`channels-do-not-match`) naming both sides, PublisherError(`text-model`).
    """
    if isinstance(options.decoder, schema.TextDecoder) or manifest.input.kind == "text":
        kinds = f"the decoder is {options.decoder.__struct_config__.tag}, the model's input {manifest.input.kind}"
        text = f"pipeline {options.name}: text and readings do not fit together: {kinds}"
        raise PublisherError("text-model", text, "models that take text come with a later version")
    given, wanted = options.decoder.channels, manifest.input.channels
    if len(given) != len(wanted):
        ours, theirs = (f"{len(names)} channels ({', '.join(names)})" for names in (given, wanted))
        text = f"pipeline {options.name}: the decoder gives {ours}, {manifest.name} wants {theirs}"
        raise OperatorError("channels-do-not-match", text, "name the channels in the decoder in the model's order")
