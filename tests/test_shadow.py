"""A candidate beside a live pipeline: it sees what the pipeline sees, is counted, and touches nothing, whatever it does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edged.clock import MS, VirtualClock
from edged.engines.base import Engine
from edged.engines.choose import open_engine
from edged.errors import OperatorError
from edged.models.manifest import load_release
from edged.records import Batch, Result
from edged.stream import shadow as shadow_module
from edged.stream.comparison import Comparison
from edged.stream.inference import Inference
from edged.stream.seen import Seen
from edged.stream.shadow import Shadow, shadow_of
from tests import lanes
from tests.daemon import HAR
from tests.lanes import Lane
from tests.recordings import ALL, START_MS, WINDOWS, messages
from tests.releases import changed, twice
from tests.waiting import until

XYZ = {"type": "json", "channels": ["x", "y", "z"], "time": "ts"}
JSON = {"type": "json", "channels": ["v"]}
TIMED = {**JSON, "time": "t"}
PERIOD_MS = 100
SAMPLES, HOP = 5, 2  # of the live model
MANY = 1_000_000

Array = NDArray[np.float32]
Message = tuple[str, str]
Begin = Callable[..., Shadow]


class Bent:
    """An engine whose `infer` does something else first, or instead; it notes what it was given, and its end."""

    def __init__(self, engine: Engine, infer: Callable[[Engine, Array], Array] | None = None) -> None:
        self._engine = engine
        self._infer = infer
        self.given: list[list[float]] = []
        self.resets = 0
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, inputs: Array) -> Array:
        self.given += inputs.reshape(len(inputs), -1).tolist()
        return self._infer(self._engine, inputs) if self._infer else self._engine.infer(inputs)

    def reset(self) -> None:
        self.resets += 1
        self._engine.reset()

    def close(self) -> None:
        self.closed = True
        self._engine.close()


class Candidate:
    """A loaded release on a bent engine."""

    def __init__(self, folder: Path, infer: Callable[[Engine, Array], Array] | None = None) -> None:
        self.engines: list[Bent] = []
        release = load_release(folder)
        (variant,) = release.manifest.variants[:1]
        real = partial(open_engine, release.path_of(variant), variant.engine, stateful=release.manifest.input.stateful)

        def opener() -> Any:
            self.engines.append(Bent(real(), infer))
            return self.engines[-1]

        self.inference = Inference(release, variant, opener)

    @property
    def given(self) -> list[list[float]]:
        return self.engines[0].given


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Give a function that sets a candidate beside a lane; each is stopped at the end."""
    begun: list[Shadow] = []

    def make(lane: Lane, candidate: Candidate, windows: int = MANY, **options: Any) -> Shadow:
        own = msgspec.structs.replace(lane.pipeline.options, **options)
        begun.append(shadow_of(own, candidate.inference, windows, VirtualClock()))
        lane.pipeline.shadow = begun[-1]
        return begun[-1]

    yield make
    for shadow in begun:
        shadow.stop()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a release whose results show the window: its values, times two."""
    return twice(tmp_path_factory.mktemp("live") / "release", 1, SAMPLES, HOP)


def mean_of(folder: Path, samples: int, hop: int, channels: tuple[str, ...] = ("c0",)) -> Path:
    """Make a release whose results are the means of its window's channels, times two."""
    return changed(
        twice(folder / "plain", len(channels), 1, hop),
        folder / "mean",
        ("samples = 1", f"samples = {samples}"),
        ('{ op = "flatten" }', '{ op = "stats", of = ["mean"] }'),
        (str([f"c{i}" for i in range(len(channels))]), str(list(channels))),
    )


def timed(values: list[float], streams: str = "ab", step: Callable[[int], int] = lambda i: i * PERIOD_MS) -> list[Message]:
    """Give readings with event time: `streams` take turns."""
    return [
        (f"in/{streams[i % len(streams)]}", json.dumps({"v": value, "t": START_MS + step(i // len(streams))}))
        for i, value in enumerate(values)
    ]


def put_all(lane: Lane, sent: list[Message], at_once: int) -> None:
    for first in range(0, len(sent), at_once):
        lane.put(*sent[first : first + at_once])


def walks(count: int, seed: int = 1) -> list[float]:
    return np.random.default_rng(seed).normal(size=count).cumsum().round(3).tolist()


# -- the same readings in the same order ---------------------------------------------------------


@pytest.mark.parametrize(("samples", "hop"), [(SAMPLES, HOP), (7, 3), (3, 8), (1, 1), (40, 40)])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_a_candidate_of_any_geometry_runs_the_windows_it_would_run_alone(
    release: Path, begin: Begin, tmp_path: Path, samples: int, hop: int, at_once: int
) -> None:
    sent = timed(walks(150), step=lambda i: i * PERIOD_MS + 2000 * (i > 60) - 300 * (i == 20))  # with a gap and a late reading
    sent.insert(30, ("in/a", "{"))
    folder = twice(tmp_path / "next", 1, samples, hop)
    alone, lane, candidate = Lane(folder, TIMED), Lane(release, TIMED), Candidate(folder)
    put_all(alone, sent, at_once)
    wanted = [[value / 2 for value in each.output["values"]] for each in alone.kept.results]
    shadow = begin(lane, candidate, len(wanted))
    put_all(lane, sent, at_once)
    until(lambda: shadow.done, "all windows")
    assert candidate.given == pytest.approx(np.array(wanted))
    assert lane.counters.dropped["gap"]
    assert lane.counters.rejected["late"] == 2
    assert shadow.report().errors == shadow.report().skipped == 0


def test_without_event_time_arrays_of_readings_come_as_they_came(release: Path, begin: Begin, tmp_path: Path) -> None:
    sent = [(f"in/{'ab'[i % 2]}", json.dumps({"v": walks(30, i)})) for i in range(6)]
    folder = twice(tmp_path / "next", 1, 7, 3)
    alone, lane, candidate = Lane(folder, JSON), Lane(release, JSON), Candidate(folder)
    put_all(alone, sent, 4)
    shadow = begin(lane, candidate, len(alone.kept.results))
    put_all(lane, sent, 4)
    until(lambda: shadow.done, "all windows")
    assert 2 * np.array(candidate.given) == pytest.approx(np.array([each.output["values"] for each in alone.kept.results]))


def test_a_candidate_may_take_some_of_the_channels(begin: Begin, tmp_path: Path) -> None:
    live = twice(tmp_path / "live", 3, 1, 1)
    decoder = {"type": "json", "channels": ["c0", "c1", "c2"]}
    lane, candidate = Lane(live, decoder), Candidate(mean_of(tmp_path, 2, 1, ("c2",)))
    shadow = begin(lane, candidate, 3)
    put_all(lane, [("in/a", json.dumps({"c0": i, "c1": -i, "c2": 10 * i})) for i in range(4)], 1)
    until(lambda: shadow.done, "all windows")
    assert candidate.given == [[5], [15], [25]]
    assert shadow.report().compared == 0  # three numbers there, one here


def test_whole_inputs_of_more_streams_than_the_candidate_holds_are_not_mixed_up(begin: Begin, tmp_path: Path) -> None:
    whole = twice(tmp_path / "whole", 1, 3)
    lane, candidate = Lane(whole, JSON), Candidate(whole)
    shadow = begin(lane, candidate, 8, max_streams=2)
    sent = [(f"in/{i}", json.dumps({"v": [i, i + 1, i + 2]})) for i in range(8)]
    sent[3:3] = [("in/a", "{"), ("elsewhere", '{"v": [1, 2, 3]}')]
    lane.put(*sent)
    until(lambda: shadow.done, "all windows")
    assert candidate.given == [[i, i + 1, i + 2] for i in range(8)]
    assert (shadow.report().compared, shadow.report().disagreed) == (8, 0)


# -- what is counted -----------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 37, 5000])
def test_a_release_agrees_with_itself_in_every_window(begin: Begin, at_once: int) -> None:
    lane = Lane(HAR, XYZ)
    shadow = begin(lane, Candidate(HAR), WINDOWS * len(ALL))
    put_all(lane, [(f"in/{name}", each) for name in ALL for each in messages(name)], at_once)
    until(lambda: shadow.done, "all windows")
    report = shadow.report()
    assert (report.windows, report.compared, report.disagreed, report.errors, report.skipped) == (36, 36, 0, 0, 0)
    assert report.disagreement == 0.0


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_a_release_agrees_with_itself_where_many_windows_end_at_once(release: Path, begin: Begin, at_once: int) -> None:
    lane = Lane(release, JSON)
    shadow = begin(lane, Candidate(release), 2 * 98)
    put_all(lane, [(f"in/{'ab'[i % 2]}", json.dumps({"v": walks(40, i)})) for i in range(10)], at_once)
    until(lambda: shadow.done, "all windows")
    assert (shadow.report().compared, shadow.report().disagreed) == (196, 0)


def test_a_release_with_state_agrees_with_itself(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = changed(twice(tmp_path / "plain", 1, 4, 4), tmp_path / "stateful", ("samples = 4", "samples = 4\nstateful = true"))

    def remembering(*args: Any, **options: Any) -> Any:
        return Bent(open_engine(*args, **options), _sum_so_far())

    monkeypatch.setattr(lanes, "open_engine", remembering)
    lane = Lane(folder, TIMED)
    release = load_release(folder)
    opener = partial(remembering, release.path_of(release.manifest.variants[0]), "tflite", stateful=True)
    candidate = Candidate(folder)
    candidate.inference = Inference(release, release.manifest.variants[0], opener)
    shadow = begin(lane, candidate, 20)
    put_all(lane, timed(walks(80)), 11)
    until(lambda: shadow.done, "all windows")
    assert (shadow.report().compared, shadow.report().disagreed) == (20, 0)
    sums = np.array([each.output["values"] for each in lane.kept.results if each.key == "key=a"])
    windows = np.array(walks(80)[::2]).reshape(10, 4) * 2
    assert sums == pytest.approx(windows.cumsum(axis=0), abs=1e-3)  # it does remember


def _sum_so_far() -> Callable[[Engine, Array], Array]:
    """Give an `infer` of an engine that adds up what it gave."""
    total = [np.float32(0)]

    def infer(engine: Engine, inputs: Array) -> Array:
        total[0] = total[0] + engine.infer(inputs)
        return np.array(total[0], np.float32)

    return infer


def test_exchanged_labels_disagree_wherever_one_of_them_is_said(begin: Begin, tmp_path: Path) -> None:
    exchanged = changed(HAR, tmp_path / "next", ('"walking", "running"', '"running", "walking"'))
    lane = Lane(HAR, XYZ)
    shadow = begin(lane, Candidate(exchanged), WINDOWS * len(ALL))
    put_all(lane, [(f"in/{name}", each) for name in ALL for each in messages(name)], 50)
    until(lambda: shadow.done, "all windows")
    moved = sum(each.output["label"] != "stationary" for each in lane.kept.results)
    assert (shadow.report().compared, shadow.report().disagreed) == (36, moved)
    assert 0 < moved < 36


@pytest.mark.parametrize("at_once", [1, 9])
def test_windows_that_end_elsewhere_are_held_against_the_newest_live_one(begin: Begin, tmp_path: Path, at_once: int) -> None:
    live, other = mean_of(tmp_path / "live", 4, 4), mean_of(tmp_path / "other", 6, 5)
    sent = timed(walks(120))
    alone, lane = Lane(other, TIMED), Lane(live, TIMED)
    put_all(alone, sent, at_once)
    shadow = begin(lane, Candidate(other), len(alone.kept.results))
    put_all(lane, sent, at_once)
    until(lambda: shadow.done, "all windows")
    pairs = [(newest(lane.kept.results, each), each.output["values"][0]) for each in alone.kept.results]
    values = [live for live, _ in pairs]
    limit = 0.05 * (max(values) - min(values))
    differ = sum(abs(live - candidate) > limit for live, candidate in pairs)
    assert (shadow.report().compared, shadow.report().disagreed) == (len(pairs), differ)
    assert 0 < differ < len(pairs) < 32


def newest(live: list[Result], of: Result) -> float:
    """Give the last live value of the same stream that is not of later than `of`."""
    return [each.output["values"][0] for each in live if each.key == of.key and each.time <= of.time][-1]


def test_the_ratio_of_latencies_is_of_one_window(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks: list[VirtualClock] = []

    def live_engine(*args: Any, **options: Any) -> Any:
        return Bent(open_engine(*args, **options), taking(2, clocks))

    monkeypatch.setattr(lanes, "open_engine", live_engine)
    lane = Lane(release, TIMED)
    clocks.append(lane.clock)
    own = VirtualClock()
    candidate = Candidate(release, taking(3, [own]))
    shadow = shadow_of(lane.pipeline.options, candidate.inference, 16, own)
    lane.pipeline.shadow = shadow
    assert shadow.report().latency_ratio is None
    put_all(lane, timed(walks(40)), 13)
    until(lambda: shadow.done, "all windows")
    assert (shadow.report().live_ms, shadow.report().candidate_ms, shadow.report().latency_ratio) == (2.0, 3.0, 1.5)
    assert shadow.stop()


def taking(ms: int, clocks: list[VirtualClock]) -> Callable[[Engine, Array], Array]:
    """Give an `infer` that takes so long for a window, on the clock in the list."""

    def infer(engine: Engine, inputs: Array) -> Array:
        for clock in clocks:
            clock.advance(ms * MS * len(inputs))
        return engine.infer(inputs)

    return infer


# -- its end -------------------------------------------------------------------------------------


def test_after_the_windows_it_should_run_it_closes_the_candidate_and_sees_nothing(release: Path, begin: Begin) -> None:
    lane, candidate = Lane(release, TIMED), Candidate(release)
    shadow = begin(lane, candidate, 7)
    put_all(lane, timed(walks(40)), 40)
    until(lambda: candidate.engines[0].closed, "the end")
    assert shadow.done
    report = shadow.report()
    put_all(lane, timed(walks(80)), 40)
    assert shadow.report() == report
    assert (report.windows, report.skipped, len(candidate.given)) == (7, 0, 7)
    assert shadow.stop()
    assert shadow.stop()  # once more does no harm


def test_a_shadow_that_saw_nothing_ends_at_once(release: Path, begin: Begin) -> None:
    candidate = Candidate(release)
    shadow = begin(Lane(release, TIMED), candidate)
    assert shadow.stop()
    assert candidate.engines[0].closed
    assert not shadow.done
    assert (shadow.report().disagreement, shadow.report().latency_ratio) == (None, None)


# -- it touches nothing --------------------------------------------------------------------------


def failing(engine: Engine, inputs: Array) -> Array:
    raise RuntimeError("a candidate that fails")


def silent(engine: Engine, inputs: Array) -> Array:
    return np.full_like(engine.infer(inputs), np.nan)


def writing(engine: Engine, inputs: Array) -> Array:
    out = engine.infer(inputs)
    inputs[:] = -1  # an engine that spoils what it is given
    return out


@pytest.mark.parametrize("infer", [None, failing, silent, writing])
def test_no_output_and_no_counter_of_the_pipeline_knows_of_it(
    release: Path, begin: Begin, infer: Callable[[Engine, Array], Array] | None
) -> None:
    sent = timed(walks(150), step=lambda i: i * PERIOD_MS + 2000 * (i > 60) - 300 * (i == 20))
    sent[10:10] = [("in/a", "{"), ("elsewhere", '{"v": 1, "t": 1}'), ("in/a", '{"t": 1}')]
    alone, lane = Lane(release, TIMED), Lane(release, TIMED)
    put_all(alone, sent, 9)
    shadow = begin(lane, Candidate(release, infer), len(alone.kept.results))
    put_all(lane, sent, 9)
    until(lambda: shadow.done, "all windows")
    assert lane.kept.outgoing == alone.kept.outgoing
    assert lane.rejected == alone.rejected
    for name in ("messages", "readings", "windows", "results", "late_results", "filled", "rejected", "dropped"):
        assert getattr(lane.counters, name) == getattr(alone.counters, name), name


def test_a_candidate_that_fails_now_and_then_is_counted_and_goes_on(release: Path, begin: Begin) -> None:
    calls: list[int] = []

    def now_and_then(engine: Engine, inputs: Array) -> Array:
        calls.append(len(inputs))
        return failing(engine, inputs) if len(calls) % 3 == 0 else engine.infer(inputs)

    lane = Lane(release, TIMED)
    shadow = begin(lane, Candidate(release, now_and_then), 18)
    put_all(lane, timed(walks(40), "a"), 1)
    until(lambda: shadow.done, "all windows")
    report = shadow.report()
    assert (report.windows, report.errors, report.compared, report.disagreed) == (18, 6, 12, 0)
    assert report.last_error == "RuntimeError: a candidate that fails"


def test_windows_without_a_number_are_errors(release: Path, begin: Begin) -> None:
    lane = Lane(release, TIMED)
    shadow = begin(lane, Candidate(release, silent), 36)
    put_all(lane, timed(walks(80)), 20)
    until(lambda: shadow.done, "all windows")
    report = shadow.report()
    assert (report.errors, report.compared, report.last_error) == (36, 0, "model-nan")


@pytest.fixture
def hanging() -> Iterator[tuple[Callable[[Engine, Array], Array], threading.Event]]:
    """Give an `infer` that hangs until the event is set."""
    free = threading.Event()

    def infer(engine: Engine, inputs: Array) -> Array:
        free.wait()
        return engine.infer(inputs)

    yield infer, free
    free.set()


def test_beside_a_candidate_that_hangs_the_pipeline_goes_on_and_a_bounded_queue_is_kept(
    release: Path, begin: Begin, hanging: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "QUEUED_NUMBERS", 1000)
    infer, free = hanging
    lane, candidate = Lane(release, TIMED), Candidate(release, infer)
    shadow = begin(lane, candidate)
    put_all(lane, timed([float(i) for i in range(500)], "a"), 1)
    assert len(lane.kept.results) == 248
    skipped = shadow.report().skipped
    kept = 500 - skipped
    assert 15 < kept <= 1000 // 33  # a reading is one number, its message 32

    free.set()
    until(lambda: shadow.report().windows == 1 + (kept - SAMPLES) // HOP, "what was queued")
    sent = iter(timed([float(i) for i in range(500, 10_000)], "a", lambda i: (i + 500) * PERIOD_MS))
    until(lambda: lane.put(next(sent)) or shadow.report().windows > 50, "windows after the hole")
    assert all(np.diff(window).tolist() == [1.0] * (SAMPLES - 1) for window in candidate.given)
    assert shadow.report().disagreed == 0


@pytest.mark.parametrize(("decoder", "gap"), [(JSON, "void"), (TIMED, "void"), (TIMED, "hold"), (TIMED, "interpolate")])
def test_a_hole_is_never_filled_nor_spanned(
    begin: Begin, hanging: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: dict[str, Any], gap: str
) -> None:
    """The hole is shorter than a window: a sensor's gap of this length would be filled."""
    monkeypatch.setattr(shadow_module, "QUEUED_NUMBERS", 600)
    infer, free = hanging
    folder = twice(tmp_path / "release", 1, 9, 1, gap=gap)
    lane, candidate = Lane(folder, decoder), Candidate(folder, infer)
    shadow = begin(lane, candidate)
    sent = iter(timed([float(i) for i in range(10_000)], "a"))
    until(lambda: lane.put(next(sent)) or shadow.report().skipped == 3, "a full queue")
    seen = lane.counters.readings - 3
    free.set()
    until(lambda: shadow.report().windows == seen - 8, "what was queued")
    until(lambda: lane.put(next(sent)) or shadow.report().windows > seen, "windows after the hole")
    assert all(np.diff(window).tolist() == [1.0] * 8 for window in candidate.given)


def test_after_a_hole_neither_a_graphs_state_nor_an_old_live_verdict_counts(tmp_path: Path) -> None:
    folder = changed(twice(tmp_path / "plain", 1, 2, 2), tmp_path / "stateful", ("samples = 2", "samples = 2\nstateful = true"))
    lane, candidate = Lane(folder, TIMED), Candidate(folder)
    fitted = lane.pipeline.fit(candidate.inference)
    comparison = Comparison(fitted, MANY, VirtualClock())
    for part, live, after_hole in ((slice(0, 3), [Seen(b"in/a", 1, {"values": [0.0, 0.0]}, 1)], False), (slice(4, 7), [], True)):
        topics, payloads = zip(*[(topic.encode(), payload.encode()) for topic, payload in timed(walks(7), "a")[part]])
        batch = Batch(list(topics), list(payloads), 0, 0)
        comparison.show(batch, fitted.decoder.decode(batch.payloads, batch.topics), live, after_hole)
    assert (comparison.report(0).windows, comparison.report(0).compared) == (2, 1)
    assert [each.resets for each in candidate.engines[1:]] == [1]
    comparison.close()


def test_a_batch_larger_than_the_queue_is_taken_alone(release: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "QUEUED_NUMBERS", 10)
    lane = Lane(release, TIMED)
    shadow = begin(lane, Candidate(release), 36)
    put_all(lane, timed(walks(80)), 80)
    until(lambda: shadow.done, "all windows")
    assert shadow.report().skipped == 0


def test_a_stop_leaves_a_candidate_that_hangs_to_itself(release: Path, begin: Begin, hanging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "STOP_S", 0.01)
    infer, free = hanging
    lane, candidate = Lane(release, TIMED), Candidate(release, infer)
    shadow = begin(lane, candidate)
    put_all(lane, timed(walks(40)), 40)
    until(lambda: candidate.given, "the candidate hangs")
    assert not shadow.stop()
    assert all(each.daemon for each in threading.enumerate() if each.name == "shadow")  # the process can end
    put_all(lane, timed(walks(80)), 40)
    assert shadow.report().skipped == 0  # it sees nothing any more
    free.set()
    until(lambda: candidate.engines[0].closed, "it is closed when it comes back")
    assert shadow.report().windows <= 64


def test_a_candidate_that_does_not_fit_the_pipeline_stays_the_callers(begin: Begin, tmp_path: Path, release: Path) -> None:
    candidate = Candidate(twice(tmp_path / "three", 3, 2, 1))
    with pytest.raises(OperatorError) as raised:
        begin(Lane(release, TIMED), candidate)
    assert raised.value.code == "channels-do-not-match"
    assert not candidate.engines[0].closed
