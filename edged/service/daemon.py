"""The daemon's life: start, tick, stop.

The main thread ticks twice a second: it answers the control socket, judges health, feeds the
rates, feeds the watchdog while the data path progresses, and looks whether there is still
something to do. Signals set a flag only; one that comes while the daemon stops forces.
Everything else runs in threads of its own, see `stream/worker.py`, `mqtt/link.py` and
`spool/writer.py`.

Start order: workers, sources, spool, links, updates, so that no message comes before somebody takes it.
Stop order, each with a deadline: updates, sources, workers (they finish what waits, down each chain),
links (they send what they can), spool (it takes the rest), outputs and models.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from edged.board.detect import board_name
from edged.board.sensors import Sensors
from edged.clock import NS, Clock
from edged.config.load import Loaded
from edged.engines.choose import available, text_builds
from edged.models.store import Store
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics
from edged.service.chronicle import Chronicle
from edged.service.control import ControlServer, Op
from edged.service.control_path import ControlPath
from edged.service.delivery import Delivery
from edged.service.ending import is_done, stop_lanes, unwritten
from edged.service.events import Events
from edged.service.fleet_line import FleetLine
from edged.service.headline import headline
from edged.service.health import Conditions
from edged.service.inventory import Inventory
from edged.service.judge import Judge
from edged.service.notify import Notify
from edged.service.parts import MAIN, Hooks, Parts
from edged.service.presence import Presence, birth_of, count_start, free_mib
from edged.service.progress import hindrance
from edged.service.rejects import RejectSampler
from edged.service.report import Life, pipeline_status, reported_content, snapshot
from edged.service.reported import Reporter
from edged.service.selection import selection_of
from edged.service.snapshot import ERROR, INFO, WARNING, Snapshot
from edged.service.stock import take_stock
from edged.service.unfinished import Unfinished
from edged.service.voice import Voice
from edged.service.wiring import wire

if TYPE_CHECKING:
    from edged.service.metrics_server import MetricsServer

TICK_S = 0.5
STATUS_EVERY_NS = 10 * NS

_log = structlog.get_logger()


class Daemon:
    """One run of the daemon."""

    def __init__(self, loaded: Loaded, clock: Clock, rng: random.Random, root: Path = Path("/")) -> None:
        """Build all parts; raises what makes a start impossible. `root` is where the files lie by which the board shows itself."""
        config = loaded.config
        self._clock = clock
        self._life = Life(clock.wall(), clock.mono())
        self._conditions = Conditions(clock)
        selection = selection_of(loaded.state_dir, config.device.profile, config.device.memory_budget_mib, root)
        topics = DeviceTopics(config.device.fleet, loaded.device_id)
        starts, kept = count_start(loaded.state_dir, clock)
        if not kept:
            self._conditions.set("state-dir-not-writable", ERROR, f"cannot write in {loaded.state_dir}", hint="check its owner and mode")
        engines = [str(build) for build in (*available(), *text_builds())]
        birth = birth_of(
            engines,
            board_name(root),
            selection.board.profile.name,
            [pipeline.name for pipeline in config.pipelines],
            config.fleet.groups,
            free_mib(loaded.state_dir),
        )
        self._presence = Presence(topics, starts, clock, birth)
        self._reporter = Reporter(topics, clock)
        self._events = Events(topics, clock, self._publish)
        self._notify = Notify.from_environment(os.environ)
        self._hindrance = ""
        self._next_status = 0
        self._chronicle = Chronicle(self._conditions, self._events)
        self._parts: Parts | None = None
        self._updates: ControlPath | None = None
        self._metrics: MetricsServer | None = None
        # The socket first: it also says whether another daemon is running.
        ops: dict[str, Op] = {"status": lambda _: self.snapshot()}
        self._control = ControlServer(loaded.socket, ops, clock)
        try:
            line = FleetLine(topics, config.fleet.groups, clock, rng)
            voice = Voice(topics, self._publish, self._announce)
            self._updates = ControlPath(loaded, clock, rng, selection, Sensors(root, clock=clock), line, voice)
            ops.update(self._updates.ops())
            ops["models"] = lambda _: self._stock()
            ops["why"] = lambda _: selection.why()
            hooks = Hooks(self._presence.will, self._announce, RejectSampler(self._events, clock), line)
            self._parts = wire(loaded, clock, rng, hooks, selection)
            if config.metrics.listen:
                from edged.service.metrics_server import MetricsServer  # costs 7 MiB that few boards spend

                self._metrics = MetricsServer(config.metrics.listen, self.snapshot)
        except BaseException:
            if self._parts is not None:
                self._parts.end_brokers()
            if self._updates is not None:
                self._updates.end(clean=True)
            self._control.close()
            raise
        self._judge = Judge(self._parts, self._conditions, self._updates)
        self._unfinished = Unfinished(self._parts, starts)
        self._signals = 0
        self._failing = False  # the run ends by a bug

    @property
    def parts(self) -> Parts:
        """Give what this daemon runs."""
        assert self._parts is not None
        return self._parts

    @property
    def updates(self) -> ControlPath:
        """Give what takes updates."""
        assert self._updates is not None
        return self._updates

    @property
    def _delivery(self) -> Delivery:
        assert self.parts.delivery is not None
        return self.parts.delivery

    @property
    def failed(self) -> bool:
        """Say whether a run that came to its end by itself did not do all of it: no pipeline, or results not written.

        A stop that was asked for is no failure.
        """
        return not self._signals and any(lane.error or unwritten(lane) for lane in self.parts.lanes)

    def run(self) -> None:
        """Run until a signal, or until every source has come to its end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        try:
            self._start()
            while not self._signals and not self._finished():
                self._tick()
            self._look()  # what came up since the last tick
        except BaseException:
            self._failing = True
            raise
        finally:
            self._stop()

    def snapshot(self) -> Snapshot:
        """Say how everything is, now."""
        return snapshot(self.parts, self._life, self._conditions, self.updates)

    def _stock(self) -> Inventory:
        pipelines = [pipeline_status(lane, self._clock) for lane in self.parts.lanes]
        store = Store(self.parts.loaded.state_dir)
        return take_stock(store, self.updates.held(), self.updates.statuses(), pipelines, self._clock)

    def _start(self) -> None:
        parts = self.parts
        self._take_up()
        for worker in parts.workers:
            worker.start()
        for lane in parts.lanes:
            if lane.pipeline is not None:
                lane.source.start(lane.pipeline.inbox.put)
        self._delivery.start()
        self.updates.start(parts)
        if self._metrics:
            self._metrics.start()
        self._life.state = "running"
        _log.info("started", device=parts.topics.device, config=str(parts.loaded.path), pipelines=len(parts.lanes))
        self._look()
        self._notify.ready(headline(self.snapshot()))

    def _take_up(self) -> None:
        unfinished = self._unfinished
        unfinished.take_up()
        if unfinished.crashed:
            self._conditions.set("unclean-stop", INFO, "the last run ended without a clean stop; readings of unfinished windows were lost")
        if unfinished.fault:
            self._conditions.set("windows-not-kept", WARNING, f"unfinished windows of the last run are lost: {unfinished.fault}")

    def _tick(self) -> None:
        self._control.poll(TICK_S)
        self._unfinished.note()
        now = self._clock.mono()
        for lane in self.parts.lanes:
            if lane.pipeline is not None and lane.rates:
                counters = lane.pipeline.counters
                counters.latency.rotate(now)
                counters.infer.rotate(now)
                lane.rates[0].observe(counters.readings, now)
                lane.rates[1].observe(counters.results, now)
        self._delivery.look()
        self._look()
        self._feed_watchdog(now)

    def _feed_watchdog(self, now: int) -> None:
        """Say that all goes on, where it does: who supervises us ends what does not."""
        hindered = hindrance(self.parts) or ("" if self.updates.alive else "the fleet thread has ended")
        if hindered and not self._hindrance:
            _log.error("no-progress", text=hindered, watchdog_s=self._notify.watchdog_s)
        self._hindrance = hindered
        if not hindered:
            self._notify.alive()
        if now >= self._next_status:
            self._next_status = now + STATUS_EVERY_NS
            self._notify.status(headline(self.snapshot()))

    def _look(self) -> None:
        """Judge how everything is; tell what is new and what is over."""
        self._judge.look()
        self._chronicle.tell_updates(self.updates.moved)
        self._chronicle.tell_variants(self.updates.varied)
        self._chronicle.tell_health()
        if MAIN in self.parts.links:
            make = partial(reported_content, self.parts, self._life, self.updates)
            report = self._reporter.look(make, self._presence.session)
            if report is not None:
                self._publish_on_main(report)

    def _finished(self) -> bool:
        """Say whether every source has ended and its messages are worked off."""
        lanes = self.parts.lanes
        return all(is_done(lane) for _ in lanes for lane in lanes)  # again and again: results may go down a chain between two looks

    def _stop(self) -> None:
        parts = self.parts
        try:
            self._life.state = "stopping"  # from here on a signal forces
            self._notify.stopping()
            self.updates.stop()
            stopped = stop_lanes(parts, self._clock)
            self._publish_last()
            lost = self._delivery.stop()
            self._hand_over(stopped)
            for lane in parts.lanes:
                if lane.pipeline is not None and stopped:
                    lane.pipeline.close()
            if self._metrics:
                self._metrics.stop()
        finally:  # also when a signal forces
            self.updates.end(clean=not self._failing)
            parts.end_brokers()
            self._control.close()
        self._say_stopped(stopped, lost)

    def _hand_over(self, worked_off: bool) -> None:
        fault = self._unfinished.hand_over(worked_off)
        if fault:
            _log.warning("windows-not-kept", text=fault)

    def _say_stopped(self, workers: bool, lost: int) -> None:
        if lost or not workers:
            _log.warning("stopped-with-work-left", undelivered=lost, workers_stopped=workers)
        results = sum(lane.pipeline.counters.results for lane in self.parts.lanes if lane.pipeline)
        _log.info("stopped", results=results, left_on_disk=self._delivery.on_disk)

    def _announce(self) -> None:
        """Say what this device is, and soon again what it reports; from any thread."""
        for message in self._presence.online():
            self._publish(message)
        self._reporter.again()

    def _publish_last(self) -> None:
        if MAIN in self.parts.links and self.parts.links[MAIN].state.state == "connected":
            self._publish_on_main(self._presence.offline())

    def _publish(self, message: Message) -> None:
        if self._parts is not None and MAIN in self._parts.links:
            self._publish_on_main(message)

    def _publish_on_main(self, message: Message) -> None:
        self.parts.links[MAIN].publish(message)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1 and self._life.state == "stopping":
            sys.exit(128 + number)
