"""What will come in to each pipeline of a configuration: at the rates of its releases, or as it was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np

from edged.clock import NS
from edged.config import schema
from edged.config.load import Loaded
from edged.errors import OperatorError
from edged.models.manifest import Release
from edged.records import Texts
from edged.select.arrivals import Arrival, recorded, steady
from edged.select.demand import Wanted, costs_of_release
from edged.select.forecast import SEED, Expected
from edged.service.lanes import release_of
from edged.stream.decoders.choose import Decoder, decoder_for
from edged.stream.decoders.text import TextMessages
from edged.stream.inbox import default_queue
from edged.stream.recording import batches, read_header

_Message = tuple[float, str, int]  # seconds since the start, stream key, readings
_TENSOR_RATE = 1.0  # messages a second of a stream whose release names no rate


def expected(loaded: Loaded, streams: int, seconds: float, recording: Path | None) -> list[Expected]:
    """Give what comes in to each pipeline, `streams` of each or those of the recording, for so many seconds.

    Raises what loading a release raises, and OperatorError for a file that is no recording.
    """
    releases = {each.name: release_of(each, loaded.state_dir) for each in loaded.config.pipelines}
    messages = _recorded(recording, loaded.config.pipelines, releases) if recording else {}
    lanes: dict[str, Expected] = {}
    for options in _upstream_first(loaded.config.pipelines):
        release, source = releases[options.name], options.source
        if isinstance(source, schema.PipelineSource):
            before = lanes[source.name].wanted
            rate = (before.windows_per_s or 0.0) / (release.manifest.input.hop or 1)
            lanes[options.name] = _lane(options, release, rate, before.streams, after=source.name)
        elif recording:
            came = messages.get(options.name, [])
            given = release.manifest.input
            arrivals = recorded(came, given.samples, given.hop, seconds)
            lanes[options.name] = _lane(options, release, _rate(arrivals, seconds), len({each.stream for each in arrivals}), arrivals)
        else:
            arrivals = _steady(options.name, release, streams, seconds)
            lanes[options.name] = _lane(options, release, None, streams, arrivals)
    return [lanes[each.name] for each in loaded.config.pipelines]


def _lane(
    options: schema.Pipeline, release: Release, rate: float | None, streams: int, arrivals: list[Arrival] | None = None, after: str = ""
) -> Expected:
    wanted = Wanted(options, release, costs_of_release(release), rate, max(1, streams))
    queue = options.queue or default_queue(options)
    return Expected(wanted=wanted, queue=queue.size, full=queue.full, arrivals=arrivals or (), after=after)


def _rate(arrivals: list[Arrival], seconds: float) -> float:
    return sum(each.windows for each in arrivals) / seconds


def _steady(pipeline: str, release: Release, streams: int, seconds: float) -> list[Arrival]:
    given = release.manifest.input
    return steady(given.rate_hz or _TENSOR_RATE, streams, given.samples, given.hop, seconds, Random(f"{SEED} {pipeline}"))


def _upstream_first(pipelines: list[schema.Pipeline]) -> Iterator[schema.Pipeline]:
    """Order pipelines so that one that feeds another comes before it; the configuration was checked to have no circle."""
    given: set[str] = set()
    left = list(pipelines)
    while left:
        ready = [each for each in left if not isinstance(each.source, schema.PipelineSource) or each.source.name in given]
        yield from ready
        given |= {each.name for each in ready}
        left = [each for each in left if each not in ready]


def _recorded(path: Path, pipelines: list[schema.Pipeline], releases: dict[str, Release]) -> dict[str, list[_Message]]:
    """Read a recording; decode what is in it, so that readings and streams are the true ones."""
    decoders = {each.name: decoder_for(each.decoder, releases[each.name].manifest.input) for each in pipelines}
    found: dict[str, list[_Message]] = {}
    with path.open("rb") as file:
        header = read_header(file, path)
        for pipeline, batch in batches(file, header, path):
            if pipeline in decoders:
                at = (batch.arrival - header.started) / NS
                found.setdefault(pipeline, []).extend(_decoded(decoders[pipeline], at, batch.topics, batch.payloads))
    if not found:
        text = f"{path} has no messages of this configuration's pipelines"
        raise OperatorError("recording-of-others", text, f"the configuration has: {', '.join(sorted(decoders))}")
    return found


def _decoded(decoder: Decoder | TextMessages, at: float, topics: list[bytes], payloads: list[bytes | None]) -> Iterator[_Message]:
    readings = decoder.decode(payloads, topics)
    if isinstance(readings, Texts):
        yield from ((at, f"{topic!r}", int(text is not None)) for topic, text in zip(topics, readings.texts))
        return
    counts = np.bincount(readings.message, minlength=len(payloads)).tolist()
    for i, (topic, count) in enumerate(zip(topics, counts)):
        yield at, f"{topic!r} {readings.labels[i] if readings.labels else ''}", count
