"""How long a pipeline serves nothing while its model is swapped under full load: in this process, with a worker and a real model."""

from __future__ import annotations

import statistics
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.parties import MODEL_DIR
from edged.clock import MS, NS, SystemClock
from edged.config import schema
from edged.engines.choose import open_engine
from edged.hold import Hold
from edged.models.manifest import Release, load_release
from edged.records import Batch, Outgoing
from edged.stream.build import Around, build_pipeline
from edged.stream.loading import load_best
from edged.stream.pipeline import Pipeline, Sink
from edged.stream.worker import Worker

SWAPS = 50
READINGS = 26  # a message, one second
PATIENCE_S = 60.0


@dataclass
class Pauses:
    """Milliseconds, one number a swap: in which nothing was served, and between two results around it."""

    gap: list[float]
    results: list[float]


class _Times:
    """An output that notes when results came."""

    finished = False
    failing: str | None = None

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self.ns: list[int] = []

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        self.ns.append(time.monotonic_ns())

    def close(self) -> None:
        pass


def pauses(streams: int, swaps: int = SWAPS) -> Pauses:
    """Swap between two releases with windows of other lengths, while messages come as fast as they are taken."""
    found = Pauses([], [])
    with TemporaryDirectory() as folder, _running(streams) as (pipeline, times):
        releases = [_longer(Path(folder)), load_release(MODEL_DIR)]
        for i in range(swaps):
            _next_result(times)
            inference, _ = load_best(releases[i % 2], open_engine)
            asked = time.monotonic_ns()
            change = pipeline.swap(inference)
            if not change.wait(PATIENCE_S) or change.error:
                raise RuntimeError(f"a swap failed: {change.error}")
            over = time.monotonic_ns()
            _next_result(times)
            around = [ns for ns in times.ns if asked - NS <= ns]
            found.gap.append(change.gap_ns / MS)
            found.results.append(max(b - a for a, b in pairwise(around) if b >= asked and a <= over) / MS)
            times.ns.clear()
        counters = pipeline.counters
        if counters.dropped or counters.rejected:
            raise RuntimeError(f"readings were lost: {counters.dropped}, {counters.rejected}")
    return found


def in_words(ms: list[float]) -> str:
    """Give the median, the 99th of a hundred, and the largest."""
    ranked = sorted(ms)
    return f"p50 {statistics.median(ranked):.1f} p99 {ranked[int(len(ranked) * 0.99)]:.1f} max {ranked[-1]:.1f} ms"


@contextmanager
def _running(streams: int) -> Iterator[tuple[Pipeline, _Times]]:
    worker, times, clock = Worker("bench"), _Times(), SystemClock()
    table = {
        "name": "bench",
        "model_dir": str(MODEL_DIR),
        "source": {"type": "mqtt", "topic": "bench/{key}"},
        "decoder": {"type": "packed", "layout": "<qfff", "channels": ["x", "y", "z"], "time": "t"},
    }
    around = Around("device", "fleet", "run", clock, open_engine, lambda *_: None)
    pipeline = build_pipeline(
        msgspec.convert(table, schema.Pipeline), load_release(MODEL_DIR), [Sink(times, "always")], worker.wake, around
    )
    worker.add(pipeline)
    worker.start()
    feeder = threading.Thread(target=_feed, args=(pipeline, streams), daemon=True)
    feeder.start()
    try:
        yield pipeline, times
    finally:
        pipeline.inbox.close()
        feeder.join()
        worker.stop(PATIENCE_S)
        pipeline.close()


def _feed(pipeline: Pipeline, streams: int) -> None:
    """Put messages of all streams in turn until the inbox is closed."""
    topics = [b"bench/%d" % i for i in range(streams)] * max(1, 100 // streams)
    second, clock = 0, SystemClock()
    rounds = len(topics) // streams
    while True:
        payloads: list[bytes | None] = []
        for _ in range(rounds):
            times = [(second * NS + i * NS // READINGS) // MS for i in range(READINGS)]
            payloads += [b"".join(struct.pack("<qfff", ms, 100.0, 0.0, 980.0) for ms in times)] * streams
            second += 1
        if not pipeline.inbox.put(Batch(topics, payloads, clock.wall(), clock.mono())):
            return


def _next_result(times: _Times) -> None:
    count, until = len(times.ns), time.monotonic() + PATIENCE_S
    while len(times.ns) <= count:
        if time.monotonic() > until:
            raise RuntimeError("no result came")
        time.sleep(0.001)


def _longer(folder: Path) -> Release:
    """Make the next release: it hops twice as often."""
    for path in MODEL_DIR.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    text = (folder / "model.toml").read_text().replace("release = 1", "release = 2").replace("hop = 130", "hop = 65")
    (folder / "model.toml").write_text(text)
    return load_release(folder)
