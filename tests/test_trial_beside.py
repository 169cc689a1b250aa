"""A pipeline at work does not notice that hostile releases are tried beside it, from its own process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.clock import SystemClock
from edged.errors import EdgedError
from edged.fleet.trial import Limits, run_trial
from tests import hostile
from tests.daemon import HAR
from tests.lanes import Lane
from tests.releases import changed
from tests.test_trial import HUNG, WALL_S, request
from tests.waiting import until

XYZ = {"type": "json", "channels": ["x", "y", "z"]}
DEADLINE_MS = 500.0  # the default of a pipeline: what a user was promised
READINGS = 13  # of one message, which completes one window
PACE_S = 0.01

HOSTILE = {
    "trial-hung": (hostile.endless, Limits(128, 60, 2.0)),
    "trial-memory": (hostile.creeping, Limits(400, 60, WALL_S)),
    "trial-crashed": (hostile.bottomless, Limits(128, 60, WALL_S)),
}


class Steady:
    """A thread that gives a pipeline a message each 10 ms, and notes how long after its time each one's result was there."""

    def __init__(self, folder: Path) -> None:
        self.lane = Lane(changed(HAR, folder, ("hop = 130", f"hop = {READINGS}")), XYZ)
        self.late_ms: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady")
        self._thread.start()

    def _run(self) -> None:
        message = json.dumps({name: [float(i) for i in range(READINGS)] for name in "xyz"})
        due = time.perf_counter()
        while not self._stop.wait(max(0.0, due - time.perf_counter())):
            self.lane.put(("in/a", message))
            self.late_ms.append((time.perf_counter() - due) * 1000)
            due += PACE_S

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def steady(tmp_path: Path) -> Iterator[Steady]:
    made = Steady(tmp_path / "har")
    yield made
    made.stop()


def p99(late_ms: list[float]) -> float:
    return sorted(late_ms)[len(late_ms) * 99 // 100]


def test_a_pipeline_keeps_its_deadline_while_hostile_releases_are_tried(steady: Steady, tmp_path: Path) -> None:
    until(lambda: len(steady.late_ms) > 150, "the pipeline works")
    before = len(steady.late_ms)
    found = []
    for code, (graph, limits) in HOSTILE.items():
        folder = hostile.release(tmp_path / code, v=graph())
        with pytest.raises(EdgedError) as caught:
            run_trial(request(folder), limits, lambda: False, SystemClock())
        found.append(caught.value.code)
    during = steady.late_ms[before:]
    steady.stop()
    assert found[0] in HUNG
    assert found[1:] == list(HOSTILE)[1:]
    told = f"p99 before {p99(steady.late_ms[:before]):.2f} ms, during {p99(during):.2f} ms of {len(during)} messages"
    print(told)
    assert p99(during) < DEADLINE_MS, told
    counters = steady.lane.counters
    messages = len(steady.late_ms)
    assert counters.windows == messages - 260 // READINGS + 1, told
    assert len(steady.lane.kept.outgoing) == counters.windows, told
    assert not steady.lane.rejected, told
