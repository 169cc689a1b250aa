"""One lane: its source, its pipeline on the release that is active, its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edged.config import schema
from edged.errors import BugError, EdgedError, PublisherError, ReleaseFaults
from edged.histogram import RateMeter
from edged.models.active import active_release
from edged.models.manifest import Release, load_release
from edged.mqtt.message import Message
from edged.mqtt.topics import fill as fill_topic
from edged.service.parts import Lane, Parts, input_of
from edged.service.tried import opener
from edged.stream.build import build_pipeline
from edged.stream.escalation import Escalation
from edged.stream.formats.choose import make_format
from edged.stream.outputs.base import Output
from edged.stream.outputs.file import FileOutput
from edged.stream.outputs.mqtt import MqttOutput
from edged.stream.outputs.serial import SerialOutput
from edged.stream.outputs.stdout import StdoutOutput
from edged.stream.pipeline import Sink
from edged.stream.sources.file import FileSource
from edged.stream.sources.mqtt import MqttSource
from edged.stream.sources.pipeline import PipelineSource
from edged.stream.sources.reader import Source
from edged.stream.sources.serial import SerialSource
from edged.stream.sources.stdin import StdinSource
from edged.stream.worker import Worker


def release_of(options: schema.Pipeline, state_dir: Path) -> Release:
    """Find the release a pipeline runs: its folder, or the active one of its model in the store."""
    if options.model_dir:
        return load_release(Path(options.model_dir))
    return active_release(state_dir, options.model)


def find(lane: Lane, state_dir: Path) -> None:
    """Find the release that a lane is to run; where that fails, the lane says why."""
    with _failing(lane):
        lane.release = release_of(lane.options, state_dir)


def fill(lane: Lane, parts: Parts) -> None:
    """Build a lane's pipeline on the release that was found for it; where that fails, the lane says why."""
    assert parts.around is not None
    if lane.release is None:
        return
    of_texts = lane.release.manifest.input.kind == "text"
    # A text takes a second where a window takes a millisecond: nothing waits behind it in the same thread.
    worker = Worker(f"text-{lane.options.name}") if of_texts else min(parts.shared, key=lambda each: each.load)
    with _failing(lane):
        around = parts.around
        if not lane.options.model_dir:
            around = replace(around, open_engine=opener(around.open_engine, lane.release, parts.loaded.state_dir))
        asking = _escalation(lane, parts, worker.wake)
        lane.pipeline = build_pipeline(lane.options, lane.release, _sinks(lane, parts), worker.wake, around, asking)
        now = parts.clock.mono()
        lane.rates = RateMeter(now), RateMeter(now)
        worker.add(lane.pipeline)
        if of_texts:
            parts.workers.append(worker)


@contextmanager
def _failing(lane: Lane) -> Iterator[None]:
    try:
        yield
    except ReleaseFaults as error:
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        lane.error = PublisherError(error.code, f"{error.faults[0]}{more}", "`edged check` lists every fault")
    except EdgedError as error:
        lane.error = error
    except Exception as error:
        lane.error = BugError.of("pipeline-bug", error)


def begin(lane: Lane, parts: Parts) -> None:
    """Let messages into a lane that got its pipeline while the daemon runs."""
    assert lane.pipeline is not None
    lane.error = None
    for worker in parts.workers:
        worker.start()
    lane.source.start(lane.pipeline.inbox.put)
    hear_answers(lane, parts)
    if isinstance(lane.source, MqttSource):
        parts.inputs[input_of(lane.options, parts.loaded.config)].add(lane.source, lane.pipeline.inbox)


def hear_answers(lane: Lane, parts: Parts) -> None:
    """Subscribe to the answers to a lane's questions, where it has any."""
    options = lane.options.escalate
    if options is None or lane.pipeline is None or lane.pipeline.escalation is None:
        return
    source = MqttSource(lane.pipeline.escalation.answer_to, 1)
    source.start(lane.pipeline.escalation.put)
    parts.inputs[options.broker].add(source, None)


def _escalation(lane: Lane, parts: Parts, wake: Callable[[], None]) -> Escalation | None:
    options = lane.options.escalate
    if options is None:
        return None
    link, names = parts.links[options.broker], _names(lane, parts)
    topic = fill_topic(options.topic, names)

    def publish(question: bytes) -> None:
        link.publish(Message(topic, question, 1, False, "application/json"))

    return Escalation(fill_topic(options.answers, names), options.wait_s, parts.clock, publish, wake)


def _sinks(lane: Lane, parts: Parts) -> list[Sink]:
    """Make a pipeline's outputs; pipelines that live on its results are among them."""
    sinks = [Sink(_make_output(lane, options, parts), options.when) for options in lane.options.outputs]
    for other in parts.lanes:
        wanted = other.options.source
        if isinstance(wanted, schema.PipelineSource) and wanted.name == lane.options.name:
            assert isinstance(other.source, PipelineSource)
            sinks.append(Sink(other.source, wanted.when))
    return sinks


def _make_output(lane: Lane, options: schema.Output, parts: Parts) -> Output:
    if isinstance(options, schema.SerialOutput):
        source = lane.options.source
        return SerialOutput(parts.serial_lines[options.port or (source.port if isinstance(source, schema.SerialSource) else "")].send)
    format_ = make_format(options.format)
    if isinstance(options, schema.FileOutput):
        return FileOutput(Path(options.path), format_.encode)
    if isinstance(options, schema.StdoutOutput):
        return StdoutOutput(format_.encode)
    return MqttOutput(parts.links[options.broker], options.topic, _names(lane, parts), format_, options.qos, lane.options.durable)


def _names(lane: Lane, parts: Parts) -> dict[str, str]:
    """Give what stands in topics for edged's own names."""
    assert lane.release is not None
    return {
        "fleet": parts.topics.fleet,
        "device": parts.topics.device,
        "pipeline": lane.options.name,
        "model": lane.release.manifest.name,
    }


def make_source(options: schema.Pipeline, parts: Parts) -> Source:
    """Make the source that a pipeline names; it is not started."""
    source = options.source
    if isinstance(source, schema.MqttSource):
        return MqttSource(source.topic, source.qos)
    if isinstance(source, schema.SerialSource):
        return _serial_source(source, isinstance(options.decoder, schema.TextDecoder), parts)
    if isinstance(source, schema.FileSource):
        return FileSource(source.path, source.follow, parts.clock)
    if isinstance(source, schema.StdinSource):
        return StdinSource(parts.clock)
    return PipelineSource(parts.clock)


def _serial_source(options: schema.SerialSource, texts: bool, parts: Parts) -> SerialSource:
    """Make a source on a line, which is made with its first one."""
    line = parts.serial_lines.get(options.port)
    if line is None:
        from edged.stream.sources.serial_line import SerialLine  # late: it brings pyserial

        line = parts.serial_lines[options.port] = SerialLine(options, parts.clock)
    source = SerialSource(line, texts)
    line.add(source)
    return source
