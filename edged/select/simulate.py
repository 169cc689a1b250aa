"""A whole configuration on a board, event by event: queues, workers, deadlines, drops. Pure, and the same for the same seed.

What is simulated is what the daemon does: each pipeline on one worker, the worker with the fewest pipelines taking the next;
a worker takes one batch at a time from the most urgent pipeline that has one, pipelines of a class take turns; queues are
bounded in messages and full as their rule says. Messages that came together are one batch. What it does not know: the
network, other programs, Python's lock, heat, and windows that go to the model together.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, merge
from random import Random

from edged.select.arrivals import Arrival, Cutter

_URGENCY = {"safety": 0, "normal": 1, "background": 2}
_P95 = 1.645  # standard deviations
LEAST_SPREAD = 0.05
TOGETHER_S = 0.005  # the thread that receives gets Python's lock back after so long, and then takes all that came


@dataclass(frozen=True, kw_only=True)
class Work:
    """One pipeline as it is simulated.

    window_ms, worst_ms   the median and the 95th percentile of a window's time; between them times are log-normal
    batch_ms              what a batch takes besides, however small; `message_ms` each message of it, `result_ms` each result
    full                  block, drop-oldest, drop-newest or latest; a source that is blocked waits, and nothing is lost
    after                 the pipeline whose results these messages are; empty: they are `arrivals`
    """

    pipeline: str
    class_: str
    deadline_ms: float
    window_ms: float
    worst_ms: float
    batch_ms: float
    message_ms: float
    result_ms: float
    queue: int
    full: str
    arrivals: Sequence[Arrival] = ()
    after: str = ""
    samples: int = 1
    hop: int = 0


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of one pipeline; times from message to result, None where there was no result. `waiting`: messages at the end."""

    pipeline: str
    worker: int
    messages: int
    results: int
    dropped: dict[str, int]
    late: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    waiting: int
    most_waiting: int


@dataclass
class _Lane:
    work: Work
    worker: _Worker
    turn: int
    queue: deque[Arrival] = field(default_factory=deque)
    messages: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    most: int = 0

    def put(self, arrival: Arrival) -> None:
        """Take a message by the queue's rule."""
        self.messages += 1
        full = self.work.full
        if full == "block" or len(self.queue) < self.work.queue:
            self.queue.append(arrival)
        elif full == "drop-newest":
            self._drop(1)
        else:
            if full == "latest":
                newest = {each.stream: each for each in (*self.queue, arrival)}
                self._drop(len(self.queue) + 1 - len(newest))
                self.queue = deque(sorted(newest.values(), key=lambda each: each.at_s))
            else:
                self.queue.append(arrival)
            while len(self.queue) > self.work.queue:
                self.queue.popleft()
                self._drop(1)
        self.most = max(self.most, len(self.queue))

    def take(self) -> list[Arrival]:
        """Give the next batch of a queue that is not empty."""
        last = self.queue[0].at_s + TOGETHER_S
        batch = [self.queue.popleft()]
        while self.queue and self.queue[0].at_s <= last:
            batch.append(self.queue.popleft())
        return batch

    def _drop(self, count: int) -> None:
        if count:
            self.dropped["queue-full"] = self.dropped.get("queue-full", 0) + count


@dataclass(eq=False)
class _Worker:
    number: int
    lanes: list[_Lane] = field(default_factory=list)
    at: tuple[_Lane, list[Arrival]] | None = None  # what it works on
    busy_s: float = 0.0

    def next(self) -> _Lane | None:
        """Give the pipeline whose turn it is, None where nothing waits."""
        waiting = [lane for lane in self.lanes if lane.queue]
        return min(waiting, key=lambda lane: (_URGENCY[lane.work.class_], lane.turn), default=None)


def simulate(works: Sequence[Work], workers: int, seconds: float, rng: Random) -> tuple[list[Ran], list[float]]:
    """Let so many seconds pass; give what became of each pipeline, and which part of the time each worker was busy."""
    simulation = _Simulation(works, workers, seconds, rng)
    simulation.run()
    return [_ran(lane) for lane in simulation.lanes], [worker.busy_s / seconds for worker in simulation.workers]


class _Simulation:
    def __init__(self, works: Sequence[Work], workers: int, seconds: float, rng: Random) -> None:
        self.workers = [_Worker(number) for number in range(max(1, min(workers, len(works))))]
        self.lanes: list[_Lane] = []
        for number, work in enumerate(works):
            worker = min(self.workers, key=lambda each: len(each.lanes))
            self.lanes.append(_Lane(work, worker, number))
            worker.lanes.append(self.lanes[-1])
        self._seconds, self._rng = seconds, rng
        self._turns = len(works)
        self._ends: list[tuple[float, int]] = []  # of what the workers do, by worker
        self._cutters = {lane.work.pipeline: Cutter(lane.work.samples, lane.work.hop) for lane in self.lanes}

    def run(self) -> None:
        """Take arrivals and ends in the order of their times."""
        for at, number, arrival in merge(*(_numbered(lane.work.arrivals, i) for i, lane in enumerate(self.lanes))):
            self._work_until(at)
            self._put(self.lanes[number], arrival, at)
        self._work_until(self._seconds)
        for end, number in self._ends:  # what is under way at the end took no time beyond it
            self.workers[number].busy_s -= end - self._seconds

    def _work_until(self, until: float) -> None:
        while self._ends and self._ends[0][0] <= until:
            now, number = heappop(self._ends)
            worker = self.workers[number]
            assert worker.at is not None
            lane, batch = worker.at
            worker.at = None
            for arrival in batch:
                self._finish(lane, arrival, now)
            self._take(worker, now)

    def _put(self, lane: _Lane, arrival: Arrival, now: float) -> None:
        lane.put(arrival)
        self._take(lane.worker, now)

    def _take(self, worker: _Worker, now: float) -> None:
        lane = worker.next() if worker.at is None else None
        if lane is None:
            return
        batch = lane.take()
        lane.turn, self._turns = self._turns, self._turns + 1
        worker.at = lane, batch
        took = self._seconds_of(lane.work, len(batch), sum(each.windows for each in batch))
        worker.busy_s += took
        heappush(self._ends, (now + took, worker.number))

    def _finish(self, lane: _Lane, arrival: Arrival, now: float) -> None:
        lane.latencies += [(now - arrival.at_s) * 1000] * arrival.windows
        for other in self.lanes:
            if other.work.after == lane.work.pipeline:
                for _ in range(arrival.windows):
                    windows = self._cutters[other.work.pipeline].windows(arrival.stream, 1)
                    self._put(other, Arrival(now, arrival.stream, windows), now)

    def _seconds_of(self, work: Work, messages: int, windows: int) -> float:
        spread = max(LEAST_SPREAD, math.log(max(1.0, work.worst_ms / work.window_ms)) / _P95) if work.window_ms > 0 else 0.0
        model_ms = sum(work.window_ms * self._rng.lognormvariate(0, spread) for _ in range(windows))
        return (work.batch_ms + messages * work.message_ms + windows * work.result_ms + model_ms) / 1000


def _numbered(arrivals: Sequence[Arrival], number: int) -> Iterator[tuple[float, int, Arrival]]:
    return ((arrival.at_s, number, arrival) for arrival in arrivals)


def _ran(lane: _Lane) -> Ran:
    latencies = sorted(lane.latencies)
    return Ran(
        pipeline=lane.work.pipeline,
        worker=lane.worker.number,
        messages=lane.messages,
        results=len(latencies),
        dropped=lane.dropped,
        late=sum(each > lane.work.deadline_ms for each in latencies),
        p50_ms=_percentile(latencies, 0.5),
        p95_ms=_percentile(latencies, 0.95),
        p99_ms=_percentile(latencies, 0.99),
        waiting=len(lane.queue),
        most_waiting=lane.most,
    )


def _percentile(ordered: Sequence[float], part: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None
