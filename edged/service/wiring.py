"""From a configuration to connected parts: brokers, pipelines, sources, outputs, workers.

Nothing runs yet when this is done. A pipeline that cannot be built is kept with its error,
so that the others serve and `edged status` says why this one does not.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edged.board.profile import AUTO, load_profile
from edged.clock import Clock
from edged.config import schema
from edged.config.load import Loaded
from edged.engines.choose import open_engine
from edged.errors import BoardError, BugError, EdgedError, PublisherError, ReleaseFaults
from edged.histogram import RateMeter
from edged.models.manifest import Release, load_release
from edged.models.store import Store
from edged.mqtt.link import Link
from edged.mqtt.message import Will
from edged.mqtt.topics import DeviceTopics
from edged.records import Rejected
from edged.service.delivery import Delivery, make_delivery
from edged.service.embedded import EmbeddedBroker
from edged.stream.build import Around, build_pipeline
from edged.stream.formats.choose import make_format
from edged.stream.outputs.base import Output
from edged.stream.outputs.file import FileOutput
from edged.stream.outputs.mqtt import MqttOutput
from edged.stream.outputs.stdout import StdoutOutput
from edged.stream.pipeline import Pipeline, Sink
from edged.stream.sources.file import FileSource
from edged.stream.sources.mqtt import MqttInput, MqttSource
from edged.stream.sources.pipeline import PipelineSource
from edged.stream.sources.reader import Source
from edged.stream.sources.stdin import StdinSource
from edged.stream.worker import Worker

MAIN = "main"
SAFETY = "+safety"  # behind a broker's name: a second connection to it; no configured name has a plus


@dataclass
class Lane:
    """One configured pipeline: what was built of it, or why nothing was."""

    options: schema.Pipeline
    source: Source
    pipeline: Pipeline | None = None
    error: EdgedError | None = None
    release: Release | None = None
    rates: tuple[RateMeter, RateMeter] | None = None


@dataclass
class Parts:
    """Everything a daemon runs."""

    loaded: Loaded
    clock: Clock
    run: str
    topics: DeviceTopics
    links: dict[str, Link] = field(default_factory=dict)
    inputs: dict[str, MqttInput] = field(default_factory=dict)
    lanes: list[Lane] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    brokers: list[EmbeddedBroker] = field(default_factory=list)
    around: Around | None = None
    delivery: Delivery | None = None

    def end_brokers(self) -> None:
        """End the brokers of our own."""
        for broker in self.brokers:
            broker.stop()


@dataclass(frozen=True)
class Hooks:
    """What the daemon wants to hear of: the Will for a new session, a connection, a refused message."""

    will: Callable[[], Will]
    on_connected: Callable[[], None]
    on_rejected: Callable[[str, bytes, bytes | None, Rejected], None]


def wire(loaded: Loaded, clock: Clock, rng: random.Random, hooks: Hooks) -> Parts:
    """Build everything that the configuration names; where that fails, no process of ours is left."""
    parts = _nothing_yet(loaded, clock, rng)
    try:
        _add_links_and_lanes(parts, rng, hooks)
        parts.delivery = make_delivery(loaded, parts.links, clock)
        parts.around = Around(loaded.device_id, loaded.config.device.fleet, parts.run, clock, open_engine, hooks.on_rejected)
        parts.workers = [Worker(f"worker-{i}") for i in range(_workers(len(parts.lanes), loaded.config.device.profile))]
        for lane in parts.lanes:
            _fill_lane(lane, parts)
        _subscribe(parts)
    except BaseException:
        parts.end_brokers()
        raise
    return parts


def wire_sources(loaded: Loaded, clock: Clock, rng: random.Random) -> Parts:
    """Build brokers and sources only, beside a daemon: under client ids of their own, and brokers keep nothing for them afterwards."""
    parts = _nothing_yet(loaded, clock, rng)
    try:
        _add_links_and_lanes(parts, rng, None)
        _subscribe(parts)
    except BaseException:
        parts.end_brokers()
        raise
    return parts


def _nothing_yet(loaded: Loaded, clock: Clock, rng: random.Random) -> Parts:
    return Parts(loaded, clock, f"{rng.getrandbits(64):016x}", DeviceTopics(loaded.config.device.fleet, loaded.device_id))


def _add_links_and_lanes(parts: Parts, rng: random.Random, hooks: Hooks | None) -> None:
    config = parts.loaded.config
    for name in sorted(_brokers_used(config)):
        _add_link(parts, name, _reachable(parts, name), rng, hooks)
    for name in sorted({_input_of(options, config) for options in config.pipelines} - {"", *parts.links}):
        _add_link(parts, name, parts.links[name.removesuffix(SAFETY)].broker, rng, hooks)
    parts.lanes = [Lane(options, _make_source(options, parts)) for options in config.pipelines]


def _subscribe(parts: Parts) -> None:
    """Subscribe to what somebody works off: the messages of a lane without a pipeline would stay unacknowledged and stop the others."""
    for lane in parts.lanes:
        if isinstance(lane.source, MqttSource) and not lane.error:
            parts.inputs[_input_of(lane.options, parts.loaded.config)].add(lane.source, lane.pipeline.inbox if lane.pipeline else None)
    for name, link in parts.links.items():
        parts.inputs[name].bind(link)


def release_of(options: schema.Pipeline, state_dir: Path) -> Release:
    """Find the release a pipeline runs: its folder, or the active one of its model in the store."""
    if options.model_dir:
        return load_release(Path(options.model_dir))
    return Store(state_dir).active(options.model)


def _fill_lane(lane: Lane, parts: Parts) -> None:
    assert parts.around is not None
    worker = min(parts.workers, key=lambda each: each.load)
    try:
        lane.release = release_of(lane.options, parts.loaded.state_dir)
        lane.pipeline = build_pipeline(lane.options, lane.release, _sinks(lane, parts), worker.wake, parts.around)
    except ReleaseFaults as error:
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        lane.error = PublisherError(error.code, f"{error.faults[0]}{more}", "`edged check` lists every fault")
        return
    except EdgedError as error:
        lane.error = error
        return
    except Exception as error:
        lane.error = BugError.of("pipeline-bug", error)
        return
    worker.add(lane.pipeline)
    now = parts.clock.mono()
    lane.rates = RateMeter(now), RateMeter(now)


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
    format_ = make_format(options.format)
    if isinstance(options, schema.FileOutput):
        return FileOutput(Path(options.path), format_.encode)
    if isinstance(options, schema.StdoutOutput):
        return StdoutOutput(format_.encode)
    assert lane.release is not None
    names = {
        "fleet": parts.topics.fleet,
        "device": parts.topics.device,
        "pipeline": lane.options.name,
        "model": lane.release.manifest.name,
    }
    return MqttOutput(parts.links[options.broker], options.topic, names, format_, options.qos, lane.options.durable)


def _make_source(options: schema.Pipeline, parts: Parts) -> Source:
    source = options.source
    if isinstance(source, schema.MqttSource):
        return MqttSource(source.topic, source.qos)
    if isinstance(source, schema.FileSource):
        return FileSource(source.path, source.follow, parts.clock)
    if isinstance(source, schema.StdinSource):
        return StdinSource(parts.clock)
    return PipelineSource(parts.clock)


def _brokers_used(config: schema.Config) -> set[str]:
    """Name the brokers that something needs; `main` also when it is only configured: it carries the device's status."""
    used = {MAIN} & set(config.mqtt)
    for pipeline in config.pipelines:
        for end in (pipeline.source, *pipeline.outputs):
            if isinstance(end, (schema.MqttSource, schema.MqttOutput)):
                used.add(end.broker)
    return used


def _input_of(options: schema.Pipeline, config: schema.Config) -> str:
    """Name the link that a pipeline's messages come on, empty where they come on none.

    A broker lets few messages be unacknowledged on a connection, and drops what waits behind
    them without a word. So `safety` pipelines get one of their own, where others would be on it.
    """
    if not isinstance(options.source, schema.MqttSource):
        return ""
    broker = options.source.broker
    sources = [(each.source, each.class_) for each in config.pipelines]
    classes = {class_ for source, class_ in sources if isinstance(source, schema.MqttSource) and source.broker == broker}
    return broker + (SAFETY if options.class_ == "safety" and classes != {"safety"} else "")


def _reachable(parts: Parts, name: str) -> schema.Broker:
    """Give the settings of a broker; one of our own is started."""
    broker = parts.loaded.config.mqtt[name]
    if broker.url != "embedded":
        return broker
    parts.brokers.append(EmbeddedBroker())
    return schema.Broker(url=parts.brokers[-1].url, version="3.1.1", keepalive_s=broker.keepalive_s)


def _add_link(parts: Parts, name: str, broker: schema.Broker, rng: random.Random, hooks: Hooks | None) -> None:
    """Make a link; without hooks one for a recording."""
    main_hooks = hooks if name == MAIN else None
    parts.inputs[name] = MqttInput(parts.clock)
    parts.links[name] = Link(
        name,
        broker,
        # Mosquitto refuses a client id with a plus wherever its rules name client ids.
        f"edged-{parts.topics.fleet}-{parts.topics.device}-{name.replace('+', '-')}{'' if hooks else '-record'}",
        parts.clock,
        rng,
        password=_password(broker),
        on_block=parts.inputs[name].on_block,
        on_resumed=parts.inputs[name].resumed,
        is_overfull=parts.inputs[name].is_overfull,
        on_connected=main_hooks.on_connected if main_hooks else None,
        will=main_hooks.will if main_hooks else None,
        keep_session=hooks is not None,
    )


def _password(broker: schema.Broker) -> str:
    if not broker.password_file:
        return ""
    try:
        return Path(broker.password_file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError("password-file", f"cannot read {broker.password_file}: {error}", "check the file's owner and mode") from error


def _workers(pipelines: int, profile: str) -> int:
    """Grant as many workers as the profile says, else one a CPU, less one for receiving; never more than pipelines."""
    granted = len(os.sched_getaffinity(0)) - 1 if profile == AUTO else load_profile(profile).compute.workers
    return max(1, min(pipelines, granted))
