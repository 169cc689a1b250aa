"""The results' broker goes for a while, and is not there at the start; results are spooled, then drained in order.

The readings come from a second broker, so that results go on being computed.
"""

from __future__ import annotations

import time
from itertools import pairwise

from soak.judge import judge
from soak.kill import kill_after
from soak.lacks import Kill
from soak.ledger import Ledger
from soak.report import Report
from soak.scene import BROKER, LOSSLESS, Scene
from soak.settle import settle, status_of, until_still
from soak.signals import Signal
from tests.daemon import Daemon, Status
from tests.waiting import until

WINDOWS = 50  # a message
SAMPLES = 4
LIVE = 4.0  # messages a second that go on through outage and drain


def outage(scene: Scene, results: int = 100_000, kills: bool = False, more: str = "") -> Report:
    """Spool `results` while the broker is away from the start on, then let it come back.

    With `kills` the daemon is killed in the middle of the outage and in the middle of the drain.
    `more` goes into the pipeline.
    """
    report = scene.report
    signal = Signal("windows", keys=4, samples=SAMPLES, hop=SAMPLES, sizes=(SAMPLES * WINDOWS,))
    floor, main = scene.broker("floor").start(), scene.broker("main", persistent=True).start()
    ledger = scene.listener(main.port, [signal])
    main.stop()
    config = BROKER.format(name="floor", port=floor.port) + scene.tables(signal, broker="floor", more=LOSSLESS + more)
    daemon = scene.daemon(config, main.port).launch()
    daemon.until(lambda status: status["brokers"]["floor"]["state"] == "connected", "the daemon runs without its main broker")
    publisher = scene.publisher(floor.port, [signal])
    made: list[Kill] = []
    half = results // WINDOWS // 2
    publisher.send(half)
    if kills:
        _spooled(daemon, results // 4, report)
        made.append(kill_after(0.0, daemon))
        daemon.until(lambda status: status["brokers"]["floor"]["state"] == "connected", "the daemon is back in the outage")
    publisher.send(results // WINDOWS - half)
    publisher.start(LIVE)
    _spooled(daemon, results, report)
    began = time.monotonic()
    main.start()
    if kills:
        until(lambda: ledger.windows > results // 3 or _settled(daemon), "a third of the results has come", daemon.tail)
        report.expect(ledger.windows > results // 3, f"{ledger.windows:,} results came before the daemon had nothing left")
        made.append(kill_after(0.0, daemon))
    _drain(daemon, ledger, report, began)
    status = settle(daemon, ledger, publisher)
    judge(report, status, ledger, publisher, made)
    return report


def _spooled(daemon: Daemon, results: int, report: Report) -> None:
    """Wait until so many results are kept for the broker, or no more come."""
    status = until_still(daemon, lambda status: status["spool"]["results"] >= results, f"{results:,} results are spooled")
    spool = status["spool"]
    report.number(spooled=spool["results"], spool_state=spool["state"], spool_mib=spool["mib"], spool_oldest_s=spool["oldest_s"])
    report.expect(spool["results"] >= results, f"{spool['results']:,} of {results:,} results are kept through the outage: {spool}")
    report.expect(not spool["dropped"], f"results were dropped in the outage: {spool['dropped']}")


def _drain(daemon: Daemon, ledger: Ledger, report: Report, began: float) -> None:
    """Watch the spool empty itself in the status."""
    waiting: list[int] = []

    def empty() -> bool:
        status = status_of(daemon)
        if status is not None:
            waiting.append(status["spool"]["results"])
        return bool(waiting) and waiting[-1] <= WINDOWS  # what comes live passes through it

    before = ledger.results
    until(empty, "the spool is empty", daemon.tail)
    seconds = time.monotonic() - began
    less = [earlier - later for earlier, later in pairwise(waiting) if earlier > later]
    report.number(drain_s=seconds, drained_a_second=(ledger.results - before) / seconds, looks_at_the_spool=len(waiting))
    report.expect(before > 0 or len(less) > 1, f"the status does not show how the spool empties itself: {waiting[:20]}")


def _settled(daemon: Daemon) -> bool:
    status: Status | None = status_of(daemon)
    return status is not None and status["brokers"]["main"]["state"] == "connected" and not status["spool"]["results"]
