"""The daemon was away while thousands of messages came: it takes them as it can, drops none, and does not hold them all.

Mosquitto limits what is unacknowledged to 20 messages, but not what was queued for a client
that was away: version 2.0.11 was seen to send twenty more for each acknowledgement. So the
daemon must turn it away when it holds enough, and come back when there is room.
"""

from __future__ import annotations

import time

import numpy as np

from bench.parties import pss_mib, recording
from edged.stream.inbox import HELD_BYTES
from soak.report import Report
from soak.scene import Scene
from soak.settle import QUIET_S, Stillness, moved, status_of
from soak.signals import Signal
from tests.daemon import HAR, Daemon, Status, pipeline_in
from tests.releases import changed
from tests.waiting import until

SAMPLES, HOP = 260, 26  # a message is five kilobytes, and work for a millisecond
QUEUE = 256
MESSAGE_BYTES = 4_000  # at least
GROWTH_MIB = 3 * HELD_BYTES / 2**20  # the messages themselves, what TCP and the allocator hold beside them


def backlog(scene: Scene, messages: int = 20_000) -> Report:
    """Publish `messages` while the daemon is away; its queue is to block."""
    report = scene.report
    rows = np.array(recording(), np.float32)
    release = changed(HAR, scene.folder / "models" / "har", (f"hop = {SAMPLES // 2}", f"hop = {HOP}"))
    signal = Signal("har", keys=2, samples=SAMPLES, hop=HOP, sizes=(SAMPLES,), rate_hz=26.0, release=release, cycle=rows)
    options = f'queue = {{ size = {QUEUE}, full = "block" }}\noutputs = [ {{ type = "mqtt", when = "change" }} ]'
    broker = scene.broker("main").start()
    daemon = scene.daemon(scene.tables(signal, more=options), broker.port).start()
    publisher = scene.publisher(broker.port, [signal])
    publisher.send(QUEUE)  # so that it is warm
    daemon.until(lambda status: pipeline_in(status, "har")["messages"] == QUEUE, "the first messages are worked off")
    assert daemon.process is not None
    warm = pss_mib(daemon.process.pid)
    report.expect(daemon.stop() == 0, "the daemon did not end cleanly")
    publisher.send(messages)
    queue, memory, seconds = _come_back(daemon, messages)
    counted = pipeline_in(daemon.status(), "har")
    report.number(messages=counted["messages"], dropped=sum(counted["dropped"].values()), seconds_to_work_off=seconds)
    report.number(longest_queue=queue, pss_warm_mib=warm, pss_highest_mib=memory)
    worked = counted["messages"]
    # Some come twice: those that were on their way when the broker was turned away.
    report.expect(worked >= messages, f"{worked:,} of {messages:,} messages are worked off")
    report.expect(not counted["dropped"], f"dropped {counted['dropped']}")
    report.expect(queue <= HELD_BYTES / MESSAGE_BYTES, f"{queue:,} messages held")
    report.expect(memory - warm < GROWTH_MIB, f"memory rose from {warm:.1f} to {memory:.1f} MiB")
    return report


def _come_back(daemon: Daemon, messages: int) -> tuple[int, float, float]:
    """Start the daemon, until it has worked off what waits; give its longest queue, its most memory and the seconds it took."""
    daemon.launch()
    began, queues, memory, still = time.monotonic(), [0], [0.0], Stillness()

    def worked_off() -> Status | None:
        status = status_of(daemon)
        if status is None:
            return None
        har = pipeline_in(status, "har")
        queues.append(har["queue"])
        memory.append(pss_mib(status["pid"]))
        return status if har["messages"] >= messages or still.seconds(moved(status)) > QUIET_S else None

    until(worked_off, "the messages are worked off", daemon.tail)
    return max(queues), max(memory), time.monotonic() - began
