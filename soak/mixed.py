"""Minutes to hours of mixed load with small disasters: nothing is lost, nothing grows, counters add up.

Two daemons get the same readings. One is never restarted: its memory, files and threads are
watched. The other is killed and restarted. The broker goes and comes back for both.

A round: load without a disaster between two looks, where the counters must add up to the
message; then load with one disaster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bench.parties import recording
from soak import balance
from soak.balance import Look
from soak.judge import judge
from soak.kill import kill_after
from soak.lacks import Kill
from soak.ledger import Ledger
from soak.measure import Course
from soak.publisher import Publisher
from soak.report import Report
from soak.scene import LOSSLESS, Scene
from soak.settle import settle
from soak.signals import Signal
from tests.broker import Mosquitto
from tests.daemon import HAR, Daemon

MOST_GROWTH_MIB = 4.0  # over the whole run, after the warm-up
JUDGED_S = 120.0  # a shorter run says nothing of growth
MORE_FILES = 2  # a file or two more, such as a spool's, is no leak
LOOK_S = 0.5
DISASTERS = 3  # kinds of them: each comes once, however short the run


@dataclass
class Side:
    """One daemon and what its subscriber has heard."""

    daemon: Daemon
    ledger: Ledger
    kills: list[Kill] = field(default_factory=list)


def signals() -> tuple[list[Signal], Signal]:
    """Give what is published at QoS 1, and one signal at QoS 0, which a disaster may cost."""
    rows = np.array(recording(), np.float32)
    return [
        Signal("whole", keys=4, samples=8, hop=8, sizes=(8, 16, 64), bad_every=50),
        Signal("spanning", keys=2, samples=8, hop=8, sizes=(3,)),
        Signal("single", keys=2, samples=8, hop=0, sizes=(8,), bad_every=20),
        Signal("har", keys=2, samples=260, hop=130, sizes=(130,), rate_hz=26.0, release=HAR, cycle=rows),
    ], Signal("careless", keys=2, samples=8, hop=0, sizes=(8,), qos=0, bad_every=30)


class Mixed:
    """The parts of one run."""

    def __init__(self, scene: Scene, rate: float) -> None:
        self.report, self._rng, self._rate = scene.report, scene.rng, rate
        safe, careless = signals()
        self.signals = [*safe, careless]
        self.broker: Mosquitto = scene.broker("main", persistent=True).start()
        tables = scene.tables(*self.signals, more=LOSSLESS)
        self.steady = Side(scene.daemon(tables, self.broker.port, "steady"), scene.listener(self.broker.port, safe, "steady"))
        self.harried = Side(scene.daemon(tables, self.broker.port, "harried"), scene.listener(self.broker.port, safe, "harried"))
        for side in (self.steady, self.harried):
            side.daemon.launch()
        for side in (self.steady, self.harried):
            side.daemon.wait_connected()
        assert self.steady.daemon.process is not None
        self.course = Course(self.steady.daemon.process.pid)
        self.publisher: Publisher = scene.publisher(self.broker.port, self.signals)
        self.disasters: list[Callable[[], None]] = []

    def round(self, seconds: float) -> None:
        """Load, with the counters held against each other; then load with a disaster in its middle."""
        before = self.looks()
        self.load(seconds / 2)
        for side, then, now in zip(("steady", "harried"), before, self.looks()):
            for text in self.differences(then, now):
                self.report.fault(f"{side}: does not add up: {text}")
        self.publisher.start(self._rate)
        self.load(seconds / 4)
        self.next_disaster()()
        self.load(seconds / 4)

    def looks(self) -> list[Look]:
        """Wait until nothing is on its way, and look at both daemons."""
        return [
            balance.look(settle(side.daemon, side.ledger, self.publisher), self.signals, self.publisher, side.ledger)
            for side in (self.steady, self.harried)
        ]

    def differences(self, before: Look, after: Look) -> list[str]:
        """Give what does not add up between two looks."""
        found = [text for signal in self.signals for text in balance.totals(signal, after.status)]
        found += [text for signal in self.signals for text in balance.between(signal, before, after)]
        return [*found, *balance.spool(before, after)]

    def load(self, seconds: float) -> None:
        """Publish for a while, and look at the steady daemon meanwhile."""
        self.publisher.start(self._rate)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.course.sample()
            time.sleep(min(LOOK_S, seconds / 4))

    def next_disaster(self) -> Callable[[], None]:
        """Draw one; each comes once before any comes again."""
        if not self.disasters:
            self.disasters = [self.kill, self.restart, self.lose_broker]
            self._rng.shuffle(self.disasters)
        return self.disasters.pop()

    def kill(self) -> None:
        """Kill one daemon."""
        self.report.progress("the daemon is killed")
        self.harried.kills.append(kill_after(self._rng.uniform(0.0, 0.5), self.harried.daemon))

    def restart(self) -> None:
        """End one daemon cleanly and start it again: not even an unfinished window may be lost."""
        self.report.progress("the daemon is restarted")
        code = self.harried.daemon.stop()
        self.report.expect(code == 0, f"the daemon ended with {code}")
        self.harried.daemon.launch()

    def lose_broker(self) -> None:
        """Let the broker be away for a while."""
        self.report.progress("the broker is restarted")
        self.broker.stop()
        time.sleep(self._rng.uniform(0.0, 2.0))
        self.broker.start()


def mixed(scene: Scene, seconds: float = 300.0, round_s: float = 30.0, rate: float = 60.0) -> Report:
    """Go on for some seconds, in rounds, at `rate` messages a second; stop at the first round whose counters do not add up."""
    report, run = scene.report, Mixed(scene, rate)
    end, rounds = time.monotonic() + seconds, 0
    while (time.monotonic() < end or rounds < DISASTERS) and not report.faults:
        run.round(round_s)
        rounds += 1
        left = max(0.0, end - time.monotonic())
        pss = run.course.pss_mib[-1]
        report.progress(f"{left:,.0f} s left, {run.publisher.messages:,} messages, {run.steady.ledger.results:,} results, {pss:.1f} MiB")
    for name, side in (("steady", run.steady), ("harried", run.harried)):
        status = settle(side.daemon, side.ledger, run.publisher)
        judge(report, status, side.ledger, run.publisher, side.kills, name)
    _judge_course(report, run.course)
    report.number(kills=len(run.harried.kills))
    return report


def _judge_course(report: Report, course: Course) -> None:
    """Hold the end of the run against its beginning."""
    half = len(course.seconds) // 2
    report.number(
        hours=course.duration_s / 3600,
        pss_mib=course.pss_mib[-1],
        pss_slope_mib_an_hour=course.slope,
        files=course.files[-1],
        threads=course.threads[-1],
    )
    if course.duration_s >= JUDGED_S:
        report.expect(course.growth_mib < MOST_GROWTH_MIB, f"memory grew by {course.growth_mib:.1f} MiB after the warm-up")
    for what, counts, more in (("open files", course.files, MORE_FILES), ("threads", course.threads, 0)):
        early, late = max(counts[:half]), max(counts[half:])
        report.expect(late <= early + more, f"{what} rose from {early} in the first half to {late} in the second")
