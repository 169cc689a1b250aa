"""What of a pipeline depends on the release it runs, in one object: so it is replaced at once, between two batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.clock import NS
from edged.config import schema
from edged.mqtt.topics import Template
from edged.records import Batch, Rejected
from edged.stream.assembly import Assembly
from edged.stream.carried import Identity, identity_of
from edged.stream.channels import channels_of, check_channels
from edged.stream.counters import Counters
from edged.stream.decoders.choose import Decoder, decoder_for
from edged.stream.decoders.text import TextMessages
from edged.stream.loaded import LoadedModel, Rows
from edged.stream.postprocess import Verdict
from edged.stream.results import ResultMaker
from edged.stream.sources.pipeline import PipelineSource
from edged.stream.streams import Labels, Stream
from edged.stream.text_inference import shortened
from edged.stream.windows import Cuts

STEP_NS = NS // 2  # what one call of the model should take at most, so that a slow one is not taken for one that hangs

LabelsOf = Callable[[bytes], Labels | None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A loaded model and what was made to its measure, for one pipeline.

    `columns` are those of the decoder's channels that the model takes, None for all of them.
    """

    inference: LoadedModel
    decoder: Decoder | TextMessages
    assembly: Assembly
    results: ResultMaker
    columns: NDArray[np.intp] | None
    identity: Identity

    @property
    def of_texts(self) -> bool:
        """Say whether texts go in, and not windows."""
        return self.inference.manifest.input.kind == "text"

    @property
    def most(self) -> int:
        """Give how many messages are worked off together: they cannot name more streams than there is room for."""
        limit = self.assembly.streams.limit
        return min(limit, self.inference.at_once) if self.of_texts else limit

    def at_once(self, each_ns: int) -> int:
        """Give how many inputs go into one call of the model, where one takes `each_ns`.

        A call with texts shows that it goes on; one with windows should be over before it is taken for one that hangs.
        """
        most = self.inference.at_once
        return most if self.of_texts else max(1, min(most, STEP_NS // max(1, each_ns)))

    def scores(self, cuts: Cuts) -> Rows:
        """Run texts, or windows of all the decoder's channels, through the model; give a row for each."""
        windows = cuts.windows if self.columns is None else cuts.windows[:, :, self.columns]
        return self.inference.scores(windows, cuts.slots)

    def verdict(self, stream: Stream, cuts: Cuts, i: int, row: Any) -> Verdict | str:
        """Judge the row of one input, `cuts`' i-th; of a text that was cut the output says how many characters are left out."""
        verdict = self.inference.verdict(stream.state, row, int(cuts.end[i]))
        if self.of_texts and isinstance(verdict, Verdict):
            left_out = len(cuts.windows[i]) - self.inference.manifest.input.max_chars
            if left_out > 0:
                verdict.output["cut"] = left_out
        return verdict

    def text_of(self, cuts: Cuts, i: int) -> str | None:
        """Give the text of one input, as the model got it; None of a window."""
        return shortened(cuts.windows[i], self.inference.manifest.input) if self.of_texts else None


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
    (`channels-do-not-match`, `decoder-does-not-fit`); `inference` is then still the caller's.
    """
    manifest = inference.manifest
    columns, channels = check_channels(options, manifest), channels_of(options, manifest)
    event_time, labels_of = has_event_time(options.decoder), labels_reader(options.source)
    so_far = before.decoder if before else None
    decoder = so_far if so_far and not _needs_release(options.decoder) else decoder_for(options.decoder, manifest.input, so_far)
    assembly = Assembly(
        manifest.input, channels, event_time, options.max_streams, labels_of, inference.new_state, inference.forget, counters, reject
    )
    results = ResultMaker(device, options.name, inference.model, manifest.input.samples, run)
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
    return isinstance(decoder, (schema.InfluxDecoder, schema.BridgeDecoder)) or bool(getattr(decoder, "time", ""))


def _needs_release(decoder: schema.Decoder) -> bool:
    """Say whether a decoder goes by the release: its rate, its channels, or what it renders. What `bridge` remembers, it takes over."""
    return isinstance(decoder, (schema.JsonDecoder, schema.TextDecoder, schema.BridgeDecoder))  # and CborDecoder, which is a JsonDecoder
