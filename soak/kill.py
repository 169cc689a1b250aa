"""The daemon is killed again and again, under load: every window of a whole message comes, with one id and one output."""

from __future__ import annotations

import time

from soak.judge import judge
from soak.lacks import Kill
from soak.report import Report
from soak.scene import LOSSLESS, Scene
from soak.settle import settle
from soak.signals import Signal
from tests.daemon import Daemon

LIFE_S = (0.05, 2.0)  # a start takes about half of it: some kills fall into it


def kill(scene: Scene, kills: int = 50, rate: float = 200.0, more: str = "") -> Report:
    """Kill the daemon at `kills` random moments while `rate` messages a second are published; `more` goes into the pipelines.

    Two kinds of streams: messages of 1, 8 or 64 whole windows, and windows that span messages.
    """
    report = scene.report
    whole = Signal("whole", keys=4, samples=8, hop=8, sizes=(8, 64, 512))
    spanning = Signal("spanning", keys=2, samples=8, hop=8, sizes=(3,))
    overlapping = Signal("overlapping", keys=2, samples=8, hop=4, sizes=(4, 5))
    signals = [whole, spanning, overlapping]
    broker = scene.broker("main").start()
    ledger = scene.listener(broker.port, signals)
    daemon = scene.daemon(scene.tables(*signals, more=LOSSLESS + more), broker.port).start()
    publisher = scene.publisher(broker.port, signals)
    publisher.start(rate)
    moments = [scene.rng.uniform(*LIFE_S) for _ in range(kills)]
    report.progress(f"seed {report.seed}, kills after {', '.join(f'{moment:.2f}' for moment in moments)} s")
    made = [kill_after(moment, daemon) for moment in moments]
    daemon.wait_connected()
    status = settle(daemon, ledger, publisher)
    judge(report, status, ledger, publisher, made)
    report.number(kills=kills)
    return report


def kill_after(seconds: float, daemon: Daemon) -> Kill:
    """Kill the daemon that many seconds from now, and start it again; give when it was."""
    time.sleep(seconds)
    began = time.monotonic()
    daemon.kill()
    ended = time.monotonic()
    daemon.launch()
    return Kill(began, ended)
