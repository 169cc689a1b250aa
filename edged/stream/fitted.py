"""What of a pipeline depends on the release it runs, in one object: so it is replaced at once, between two batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from edged.config import schema
from edged.mqtt.topics import Template
from edged.records import Batch, Rejected
from edged.stream.assembly import Assembly
from edged.stream.carried import Identity, identity_of
from edged.stream.channels import channels_of, check_channels
from edged.stream.counters import Counters
from edged.stream.decoders.choose import Decoder, make_decoder
from edged.stream.loaded import LoadedModel, Rows
from edged.stream.results import ResultMaker
from edged.stream.sources.pipeline import PipelineSource
from edged.stream.streams import Labels
from edged.stream.windows import Cuts

LabelsOf = Callable[[bytes], Labels | None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A loaded model and what was made to its measure, for one pipeline.

    `columns` are those of the decoder's channels that the model takes, None for all of them.
    """

    inference: LoadedModel
    decoder: Decoder
    assembly: Assembly
    results: ResultMaker
    columns: NDArray[np.intp] | None
    identity: Identity

    def scores(self, cuts: Cuts) -> Rows:
        """Run windows of all the decoder's channels through the model; give a row of scores for each."""
        windows = cuts.windows if self.columns is None else cuts.windows[:, :, self.columns]
        return self.inference.scores(windows, cuts.slots)


def fit(
    options: schema.Pipeline,
    inference: LoadedModel,
    counters: Counters,
    reject: Callable[[Batch, Rejected], None],
    *,
    device: str,
    run: str,
    before: Fitted | None = None,
) -> Fitted:
    """Make everything for a pipeline of `options` that shall run `inference`, with streams that are empty.

    `counters` and `reject` take what the assembly lets go and refuses. `before` is what the
    pipeline ran so far: a decoder that knows headers goes on. Raises OperatorError
    (`channels-do-not-match`), PublisherError (`text-model`); `inference` is then still the caller's.
    """
    manifest = inference.manifest
    columns, channels = check_channels(options, manifest), len(channels_of(options, manifest))
    event_time, labels_of = has_event_time(options.decoder), labels_reader(options.source)
    decoder = before.decoder if before and not _needs_rate(options.decoder) else make_decoder(options.decoder, manifest.input.rate_hz)
    assembly = Assembly(
        manifest.input, channels, event_time, options.max_streams, labels_of, inference.new_state, inference.forget, counters, reject
    )
    results = ResultMaker(device, options.name, inference.model, manifest.input.samples, event_time, run)
    return Fitted(inference, decoder, assembly, results, columns, identity_of(options, manifest, inference.values))


def labels_reader(source: schema.Source) -> LabelsOf:
    """Give what reads a topic's labels, by the kind of source."""
    if isinstance(source, schema.MqttSource):
        return Template(source.topic).labels_of
    if isinstance(source, schema.PipelineSource):
        return PipelineSource.labels_of
    if isinstance(source, schema.FileSource):
        return lambda topic: (("file", PurePath(topic.decode("utf-8", "replace")).name),)
    return lambda topic: ()


def has_event_time(decoder: schema.Decoder) -> bool:
    """Say whether a decoder's readings carry event time."""
    return isinstance(decoder, schema.InfluxDecoder) or bool(getattr(decoder, "time", ""))


def _needs_rate(decoder: schema.Decoder) -> bool:
    """Say whether a decoder spaces readings by the release's rate. None that does remembers anything of its messages."""
    return isinstance(decoder, schema.JsonDecoder)  # and CborDecoder, which is one
