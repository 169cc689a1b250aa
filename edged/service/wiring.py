"""From a configuration to connected parts: brokers, pipelines, sources, outputs, workers.

Nothing runs yet when this is done. A pipeline that cannot be built is kept with its error,
so that the others serve and `edged status` says why this one does not.
"""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

from edged.clock import Clock
from edged.config import schema
from edged.config.load import Loaded
from edged.engines.choose import open_engine
from edged.errors import BoardError
from edged.models.active import active_release
from edged.mqtt.link import Link
from edged.mqtt.topics import DeviceTopics
from edged.service.delivery import make_delivery
from edged.service.embedded import EmbeddedBroker
from edged.service.fleet_line import FLEET, LONGEST_WAIT_S, FleetLine
from edged.service.lanes import fill, find, hear_answers, make_source
from edged.service.parts import MAIN, SAFETY, Hooks, Lane, Parts, input_of
from edged.service.selection import Selection
from edged.stream.build import Around
from edged.stream.sources.mqtt import MqttInput, MqttSource
from edged.stream.worker import Worker


def wire(loaded: Loaded, clock: Clock, rng: random.Random, hooks: Hooks, selection: Selection) -> Parts:
    """Build everything that the configuration names; where that fails, no process of ours is left."""
    parts = _nothing_yet(loaded, clock, rng)
    parts.selection = selection
    try:
        _add_links_and_lanes(parts, rng, hooks)
        if takes_orders(loaded.config):
            _add_fleet_link(parts, rng, hooks.line)
        parts.delivery = make_delivery(loaded, parts.links, clock)
        parts.around = around = Around(
            loaded.device_id,
            loaded.config.device.fleet,
            parts.run,
            clock,
            open_engine,
            hooks.on_rejected,
            selection.order,
            partial(active_release, loaded.state_dir),
            selection.board.workers,
        )
        parts.shared = [Worker(f"worker-{i}") for i in range(_workers(len(parts.lanes), selection.board.workers))]
        parts.workers = list(parts.shared)
        for lane in parts.lanes:  # all of them before the first loads a model: the variants are chosen together
            find(lane, loaded.state_dir)
        selection.bind(parts.lanes, around.not_loaded)
        for lane in parts.lanes:
            fill(lane, parts)
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
    for name in sorted({input_of(options, config) for options in config.pipelines} - {"", *parts.links}):
        _add_link(parts, name, parts.links[name.removesuffix(SAFETY)].broker, rng, hooks)
    parts.lanes = [Lane(options, make_source(options, parts)) for options in config.pipelines]


def _subscribe(parts: Parts) -> None:
    """Subscribe to what somebody works off: the messages of a lane without a pipeline would stay unacknowledged and stop the others."""
    for lane in parts.lanes:
        if isinstance(lane.source, MqttSource) and not lane.error:
            parts.inputs[input_of(lane.options, parts.loaded.config)].add(lane.source, lane.pipeline.inbox if lane.pipeline else None)
        hear_answers(lane, parts)
    for name, input_ in parts.inputs.items():
        input_.bind(parts.links[name])


def _brokers_used(config: schema.Config) -> set[str]:
    """Name the brokers that something needs; `main` also when it is only configured: it carries the device's status."""
    used = {MAIN} & set(config.mqtt)
    for pipeline in config.pipelines:
        for end in (pipeline.source, *pipeline.outputs, pipeline.escalate):
            if isinstance(end, (schema.MqttSource, schema.MqttOutput, schema.Escalate)):
                used.add(end.broker)
    return used


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
        _client_id(parts, name) + ("" if hooks else "-record"),
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


def takes_orders(config: schema.Config) -> bool:
    """Say whether the fleet's messages are to come over the first broker."""
    return bool(config.fleet.root) and "mqtt" in config.fleet.repositories and MAIN in config.mqtt


def _add_fleet_link(parts: Parts, rng: random.Random, line: FleetLine) -> None:
    """Make the fleet's own connection to the first broker; nothing is kept for it there: all that counts is retained or asked for again."""
    broker, name = parts.links[MAIN].broker, MAIN + FLEET
    parts.links[name] = Link(
        name,
        broker,
        _client_id(parts, name),
        parts.clock,
        rng,
        password=_password(broker),
        on_block=line.on_block,
        on_connected=line.connected,
        keep_session=False,
        longest_wait_s=LONGEST_WAIT_S,
    )
    line.bind(parts.links[name])


def _client_id(parts: Parts, name: str) -> str:
    # Mosquitto refuses a client id with a plus wherever its rules name client ids.
    return f"edged-{parts.topics.fleet}-{parts.topics.device}-{name.replace('+', '-')}"


def _password(broker: schema.Broker) -> str:
    if not broker.password_file:
        return ""
    try:
        return Path(broker.password_file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError("password-file", f"cannot read {broker.password_file}: {error}", "check the file's owner and mode") from error


def _workers(pipelines: int, granted: int) -> int:
    """Take as many workers as the board grants to models, never more than pipelines, or than CPUs that this process may use."""
    return max(1, min(pipelines, granted, len(os.sched_getaffinity(0))))
