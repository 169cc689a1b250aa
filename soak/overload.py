"""Twice the load that the machine takes: memory stays flat, losses are counted to the message, what is for safety loses nothing.

The readings of the overload come at QoS 0. At QoS 1 they would not overload the daemon: the
broker holds back what is not acknowledged, in a queue of its own, and drops beyond its
`max_queued_messages` without a word to either side.

The queue that blocks has a connection to itself. At QoS 0 nothing else tells a broker to wait
than a connection that is not read, and whatever shares that connection waits too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from soak.capacity import DROPPING, POLICIES, Slow
from soak.judge import judge
from soak.latency import percentiles, usual_from, waits
from soak.ledger import Ledger
from soak.measure import Course
from soak.publisher import Publisher
from soak.report import Report
from soak.scene import LOSSLESS, Scene
from soak.settle import settle, status_of, until_still
from soak.signals import Signal
from tests.daemon import Daemon, Status, pipeline_in
from tests.peer import Peer
from tests.waiting import until

QUEUE_S = 0.25  # what waits in a queue is worked off in so long
QUIET_LOAD = 20.0  # messages a second of what is for safety, always
GROWTH_MIB = 8.0
LOOK_S = 0.25
AROUND_S = 5.0  # before and after the load, at most
DROPPED = "$SYS/broker/publish/messages/dropped"


@dataclass
class Phases:
    """When the load was: monotonic seconds.

    `empty`: no queue that drops held anything any more. `ended`: what was held back for the queue that blocks was worked off too.
    """

    began: float
    loaded: float = 0.0
    published: float = 0.0
    empty: float = 0.0
    ended: float = 0.0


def overload(scene: Scene, seconds: float = 60.0, measured: int = 600, recovery_bar_s: float | None = 2.0) -> Report:
    """Measure with `measured` messages what the daemon takes, then publish twice as much for some seconds.

    `recovery_bar_s`: by then queues that drop are empty and latency is as before; None: only report it.
    """
    report, slow = scene.report, Slow(scene)
    broker = scene.broker("main", extra="sys_interval 1").start()
    watcher = scene.peer(broker.port, DROPPED)
    rate = 2 * slow.capacity(broker.port, measured)
    size = max(4, int(rate / 2 * QUEUE_S / len(POLICIES)))
    report.number(overload_a_second=rate, queue_size=size)

    heavy, safety = slow.signals(), Signal("safety", keys=2, samples=8, hop=0, sizes=(8,))
    safe = scene.tables(safety, more=LOSSLESS + 'class = "safety"\n')
    ledger = scene.listener(broker.port, [safety])
    daemon = scene.daemon(slow.tables(heavy, size, broker.port) + safe, broker.port).start()
    probe, load = scene.publisher(broker.port, [safety], "probe"), scene.publisher(broker.port, heavy, "load")
    queues = dict.fromkeys(POLICIES, 0)
    course, phases = _through(daemon, probe, load, rate, seconds, queues)
    status = settle(daemon, ledger, probe)

    _judge_memory(report, course)
    _judge_losses(report, status, load, heavy, _dropped_by(watcher))
    _judge_recovery(report, ledger, probe, phases, recovery_bar_s)
    over = {name: queues[name] for name in DROPPING if queues[name] > size}  # one that blocks takes what came in one read
    report.expect(not over, f"queues of {size} messages held {over}")
    judge(report, status, ledger, probe)
    return report


def _through(
    daemon: Daemon, probe: Publisher, load: Publisher, rate: float, seconds: float, queues: dict[str, int]
) -> tuple[Course, Phases]:
    """Go from quiet through the load to quiet; note memory, times and the longest queues in it."""
    assert daemon.process is not None
    course, phases, around = Course(daemon.process.pid), Phases(time.monotonic()), min(AROUND_S, seconds / 3)

    def look() -> None:
        course.sample()
        for each in daemon.status()["pipelines"]:
            queues[each["name"]] = max(queues.get(each["name"], 0), each["queue"])

    probe.start(QUIET_LOAD)
    _pass(around, lambda: None)
    phases.loaded = time.monotonic()
    load.start(rate)
    _pass(seconds, look)
    load.pause()
    phases.published = time.monotonic()
    until(lambda: (status := status_of(daemon)) and _are_empty(status), "the queues that drop are empty")
    phases.empty = time.monotonic()
    held = sum(sent.messages for sent in load.sent["block"])
    until_still(daemon, lambda status: pipeline_in(status, "block")["messages"] >= held, "what was held back is worked off")
    phases.ended = time.monotonic()
    _pass(around, look)
    return course, phases


def _pass(seconds: float, look: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        look()
        time.sleep(LOOK_S)


def _are_empty(status: Status) -> bool:
    return not any(pipeline_in(status, name)["queue"] for name in DROPPING)


def _dropped_by(watcher: Peer) -> int:
    """Give what the broker says it dropped itself; it speaks when the number changes."""
    said = watcher.on(DROPPED)
    return int(said[-1].payload) if said else 0


def _judge_memory(report: Report, course: Course) -> None:
    first, last = course.pss_mib[course.warm][0], course.pss_mib[-1]
    report.number(pss_mib=last, pss_slope_mib_an_hour=course.slope, pss_growth_mib=course.growth_mib)
    report.expect(course.growth_mib < GROWTH_MIB, f"memory grew under the load, from {first:.1f} to {last:.1f} MiB")


def _judge_losses(report: Report, status: Status, load: Publisher, heavy: list[Signal], by_broker: int) -> None:
    """Hold what was published against what was worked off and what was counted: published = messages + queue-full + lost before."""
    rows: dict[str, Any] = {}
    for signal in heavy:
        each = pipeline_in(status, signal.name)
        dropped, published = each["dropped"].get("queue-full", 0), load.total(signal)
        before = published - each["messages"] - dropped
        rows[signal.name] = {"published": published, "messages": each["messages"], "queue_full": dropped, "lost_before": before}
        report.expect(bool(dropped) == (signal.name in DROPPING), f"a queue that is to {signal.name} dropped {dropped:,} messages")
        report.expect(0 <= before <= by_broker, f"{signal.name}: {before:,} messages neither worked off nor counted: {rows[signal.name]}")
    report.number(**rows, dropped_by_the_broker=by_broker)
    lost = sum(row["lost_before"] for row in rows.values())
    report.expect(lost == by_broker, f"{lost:,} messages neither worked off nor counted; the broker says it dropped {by_broker:,}")
    safe = pipeline_in(status, "safety")["dropped"]
    report.expect(not safe, f"the pipeline for safety dropped {safe}")


def _judge_recovery(report: Report, ledger: Ledger, probe: Publisher, phases: Phases, bar_s: float | None) -> None:
    """Tell how long the results for safety took before, in and after the load, and when all was as before."""
    before = waits(ledger, probe, phases.began, phases.loaded)
    during = waits(ledger, probe, phases.loaded, phases.ended)
    after = waits(ledger, probe, phases.ended, math.inf)
    empty_s, usual_s = phases.empty - phases.published, max(0.0, usual_from(before, [*during, *after]) - phases.ended)
    report.number(latency_before_ms=percentiles(before), latency_in_it_ms=percentiles(during), latency_after_ms=percentiles(after))
    report.number(queues_empty_s=empty_s, held_back_s=phases.ended - phases.published, latency_as_before_s=usual_s)
    slow = bar_s is not None and max(empty_s, usual_s) > bar_s
    report.expect(not slow, f"after the load queues were empty in {empty_s:.2f} s, latency as before in {usual_s:.2f} s")
