"""What a daemon runs: lanes, links, workers, brokers of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edged.clock import Clock
from edged.config import schema
from edged.config.load import Loaded
from edged.errors import EdgedError
from edged.histogram import RateMeter
from edged.models.manifest import Release
from edged.mqtt.link import Link
from edged.mqtt.message import Will
from edged.mqtt.topics import DeviceTopics
from edged.records import Rejected
from edged.service.delivery import Delivery
from edged.service.embedded import EmbeddedBroker
from edged.service.fleet_line import FleetLine
from edged.service.selection import Selection
from edged.service.serial_status import SerialRates
from edged.stream.build import Around
from edged.stream.pipeline import Pipeline
from edged.stream.sources.mqtt import MqttInput
from edged.stream.sources.reader import Source
from edged.stream.worker import Worker

if TYPE_CHECKING:
    from edged.stream.sources.serial_line import SerialLine

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
    """Everything a daemon runs; what is serial, by port. `workers` are all of them, `shared` those that pipelines of readings share."""

    loaded: Loaded
    clock: Clock
    run: str
    topics: DeviceTopics
    links: dict[str, Link] = field(default_factory=dict)
    inputs: dict[str, MqttInput] = field(default_factory=dict)
    serial_lines: dict[str, SerialLine] = field(default_factory=dict)
    serial_rates: dict[str, SerialRates] = field(default_factory=dict)
    lanes: list[Lane] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    shared: list[Worker] = field(default_factory=list)
    brokers: list[EmbeddedBroker] = field(default_factory=list)
    around: Around | None = None
    selection: Selection | None = None
    delivery: Delivery | None = None

    def end_brokers(self) -> None:
        """End the brokers of our own."""
        for broker in self.brokers:
            broker.stop()


def runners_mib(parts: Parts) -> float:
    """Give the memory of the processes that models have of their own."""
    pipelines = [lane.pipeline for lane in parts.lanes if lane.pipeline is not None and lane.pipeline.fault is None]
    return sum(pipeline.inference.mib() for pipeline in pipelines)


@dataclass(frozen=True)
class Hooks:
    """What the daemon wants to hear of: the Will for a new session, a connection, a refused message; and the fleet's line."""

    will: Callable[[], Will]
    on_connected: Callable[[], None]
    on_rejected: Callable[[str, bytes, bytes | None, Rejected], None]
    line: FleetLine


def input_of(options: schema.Pipeline, config: schema.Config) -> str:
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
