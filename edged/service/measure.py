"""How fast this board runs a variant alone, and the path around it; for `edged bench`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged.clock import NS, SystemClock
from edged.config import schema
from edged.engines.choose import open_engine
from edged.hold import Hold
from edged.models.costs import costs_of_file
from edged.models.manifest import Release, Variant
from edged.models.template import parse_render
from edged.records import Batch, Outgoing
from edged.stream.build import Around, build_pipeline
from edged.stream.loading import load_variant
from edged.stream.pipeline import Sink

WARM_UP = 10
BATCH = 20  # messages: what a broker hands out at once at QoS 1


class VariantSpeed(msgspec.Struct):
    """One variant alone: times of a single window or text in microseconds, and of one in a full batch; `gmacs` of windows."""

    model: str
    release: int
    variant: str
    engine: str
    file_bytes: int
    macs: int
    load_ms: float
    p50_us: float
    p95_us: float
    batch: int
    batched_us: float | None
    gmacs: float | None


class PathSpeed(msgspec.Struct):
    """The whole path of one model, from messages to encoded results, without a broker: one CPU, and what a language model takes beside."""

    model: str
    variant: str
    readings_per_s: float
    us_per_reading: float
    results: int


def measure_variant(release: Release, variant: Variant, seconds: float) -> VariantSpeed:
    """Run a variant on random inputs for about `seconds`; raises what opening it raises."""
    if release.manifest.input.kind == "text":
        return _measure_texts(release, variant, seconds)
    path = release.path_of(variant)
    costs = costs_of_file(path)
    start = time.perf_counter_ns()
    engine = open_engine(path, variant.engine, stateful=release.manifest.input.stateful)
    load_ns = time.perf_counter_ns() - start
    inputs = np.random.default_rng(1).normal(size=(max(engine.batch, 1), *engine.input.shape)).astype(np.float32)
    single = np.sort(_times(lambda: engine.infer(inputs[:1]), seconds))
    batched = np.median(_times(lambda: engine.infer(inputs), seconds / 2)) / engine.batch / 1000 if engine.batch > 1 else None
    p50 = float(single[len(single) // 2])
    speed = VariantSpeed(
        model=release.manifest.name,
        release=release.manifest.release,
        variant=variant.name,
        engine=str(engine.build),
        file_bytes=path.stat().st_size,
        macs=costs.macs_total,
        load_ms=load_ns / 1e6,
        p50_us=p50 / 1000,
        p95_us=float(single[int(len(single) * 0.95)]) / 1000,
        batch=engine.batch,
        batched_us=None if batched is None else float(batched),
        gmacs=costs.macs_total / p50,
    )
    engine.close()
    return speed


def _measure_texts(release: Release, variant: Variant, seconds: float) -> VariantSpeed:
    """Answer texts of half the longest that is taken, with the threads that the runtime likes."""
    path, text = release.path_of(variant), _text_of(release)
    start = time.perf_counter_ns()
    model = load_variant(release, variant, open_engine)
    load_ns = time.perf_counter_ns() - start
    texts = np.array([text] * max(model.at_once, 1), object)
    slots = np.zeros(len(texts), np.intp)
    single = np.sort(_times(lambda: model.scores(texts[:1], slots[:1]), seconds, warm_up=1))
    batched = np.median(_times(lambda: model.scores(texts, slots), seconds / 2, warm_up=1)) / len(texts) / 1000 if len(texts) > 1 else None
    speed = VariantSpeed(
        model=release.manifest.name,
        release=release.manifest.release,
        variant=variant.name,
        engine=str(model.build),
        file_bytes=path.stat().st_size,
        macs=0,
        load_ms=load_ns / 1e6,
        p50_us=float(single[len(single) // 2]) / 1000,
        p95_us=float(single[int(len(single) * 0.95)]) / 1000,
        batch=len(texts),
        batched_us=None if batched is None else float(batched),
        gmacs=None,
    )
    model.close()
    return speed


def _message_of(release: Release) -> bytes:
    """Make a message that a release for texts takes: a text, or JSON with the fields that it makes one of."""
    parts = parse_render(release.manifest.input.render)
    fields: dict[str, Any] = {}
    for path in (part for part in parts if isinstance(part, tuple)):
        table = fields
        for name in path[:-1]:
            table = table.setdefault(name, {})
        table[path[-1]] = "pump 3"
    return msgspec.json.encode(fields) if parts else _text_of(release).encode()


def _text_of(release: Release) -> str:
    """Make a text of half the longest that a release takes."""
    half = max(1, release.manifest.input.max_chars // 2)
    return ("replace worn hose of pump 3 " * (half // 28 + 1))[:half]


def measure_path(release: Release, seconds: float) -> PathSpeed:
    """Push JSON readings, or texts, through decoder, windows, model and result format for about `seconds`."""
    output = _Encoded()
    channels = [f"c{i}" for i in range(len(release.manifest.input.channels))]
    decoder: schema.Decoder = schema.JsonDecoder(channels=channels)
    message = msgspec.json.encode(dict.fromkeys(channels, 0.5))
    if release.manifest.input.kind == "text":
        decoder, message = schema.TextDecoder(), _message_of(release)
    options = schema.Pipeline(name="bench", source=schema.StdinSource(), decoder=decoder, model=release.manifest.name)
    around = Around("bench", "bench", "", SystemClock(), open_engine, lambda *_: None)
    pipeline = build_pipeline(options, release, [Sink(output, "always")], lambda: None, around)
    count = 0
    start = time.perf_counter_ns()
    while (took := time.perf_counter_ns() - start) < seconds * NS:
        pipeline.process(Batch([b""] * BATCH, [message] * BATCH, time.time_ns(), time.monotonic_ns()))
        count += BATCH
    speed = PathSpeed(release.manifest.name, pipeline.inference.model.variant, count * NS / took, took / count / 1000, output.results)
    pipeline.close()
    return speed


class _Encoded:
    """An output that encodes results and lets them go."""

    failing: str | None = None
    finished = False

    def __init__(self) -> None:
        from edged.stream.formats.choose import make_format

        self.dropped: dict[str, int] = {}
        self.results = 0
        self._encode = make_format("json").encode

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        for each in outgoing:
            self._encode(each.result)
        self.results += len(outgoing)

    def close(self) -> None:
        """Nothing is held."""


def _times(call: object, seconds: float, warm_up: int = WARM_UP) -> np.ndarray:  # type: ignore[type-arg]
    assert callable(call)
    for _ in range(warm_up):
        call()
    times: list[int] = []
    end = time.perf_counter_ns() + int(seconds * NS)
    while not times or time.perf_counter_ns() < end:
        before = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - before)
    return np.array(times)


def releases_here(loaded_state_dir: Path, model_dirs: list[str]) -> list[Release]:
    """Give the installed releases that are active, and those used in place."""
    from edged.models.active import active_models, active_release
    from edged.models.manifest import load_release

    installed = [active_release(loaded_state_dir, name) for name in active_models(loaded_state_dir)]
    return installed + [load_release(Path(folder)) for folder in dict.fromkeys(model_dirs)]
