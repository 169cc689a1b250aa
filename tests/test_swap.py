"""One release after another in a running pipeline: no reading is lost, no window comes twice, and what fails changes nothing."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import NS, SystemClock
from edged.config import schema
from edged.engines.choose import RUNTIMES, open_engine
from edged.errors import BoardError, BugError, EdgedError, OperatorError
from edged.models.manifest import load_release
from edged.records import Batch, Outgoing
from edged.stream.build import Around, build_pipeline
from edged.stream.change import Change
from edged.stream.inference import Inference
from edged.stream.loading import load_best
from edged.stream.pipeline import Sink
from edged.stream.worker import Worker
from tests.conftest import DATA
from tests.lanes import START_NS, Kept, Lane
from tests.recordings import START_MS, messages
from tests.releases import changed, twice
from tests.test_engines import each_runtime
from tests.test_engines_graphs import rnn as rnn  # a fixture
from tests.waiting import PATIENCE_S, until

HAR = DATA.parent.parent / "edged" / "demo" / "har"
PERIOD_MS = 100
TIMED = {"type": "json", "channels": ["c0"], "time": "t"}
UNTIMED = {"type": "json", "channels": ["c0"]}


# The runtime is named, so that it is not tried in a child process first for each of some hundred files.
RUNTIME = next(name for name, (_, module) in RUNTIMES.items() if importlib.util.find_spec(module))


def fresh(release: Path, decoder: dict[str, Any], **options: Any) -> Lane:
    return Lane(release, decoder, prefer=RUNTIME, **options)


def load(release: Path, prefer: str = RUNTIME, only: str | None = None) -> Inference:
    return load_best(load_release(release), partial(open_engine, prefer=prefer), None if only is None else [only])[0]


def swap(lane: Lane, release: Path, **options: Any) -> Change:
    """Swap as a worker would, between two batches."""
    change = lane.pipeline.swap(load(release, **options))
    assert lane.pipeline.take() is None
    assert change.wait(0)
    assert change.error is None, change.error
    return change


def payload(index: int, **more: object) -> str:
    return json.dumps({"c0": index, "t": START_MS + index * PERIOD_MS, **more})


def feed(lane: Lane, first: int, last: int, topic: str = "in/a") -> None:
    """Put readings whose value is their number, in one batch."""
    if last > first:
        lane.put(*[(topic, payload(i)) for i in range(first, last)])


def windows(outgoing: list[Outgoing]) -> list[list[int]]:
    """Give the readings of each window, by their numbers: the releases here give each value times two."""
    return [[round(value / 2) for value in each.result.output["values"]] for each in outgoing]


# -- which windows there are ------------------------------------------------------------------


@dataclass(frozen=True)
class Geometry:
    """How a release cuts windows."""

    samples: int
    hop: int
    gap: str = "void"
    rate_hz: float = 1000 / PERIOD_MS


geometries = st.builds(Geometry, st.integers(1, 7), st.integers(1, 9), st.sampled_from(["void", "hold", "interpolate"]))


@pytest.fixture(scope="module")
def release_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Geometry], Path]:
    """Give a function that makes the release of a geometry, once."""
    folder, made = tmp_path_factory.mktemp("releases"), dict[Geometry, Path]()

    def make(geometry: Geometry) -> Path:
        if geometry not in made:
            g, path = geometry, folder / str(len(made))
            twice(path, 1, g.samples, g.hop, g.rate_hz, g.gap)
            changed(path, folder / f"{len(made)}r", ("release = 1", f"release = {len(made) + 1}"))
            made[geometry] = folder / f"{len(made)}r"
        return made[geometry]

    return make


def check_windows(found: list[list[int]], old: Geometry, new: Geometry, swapped: int, count: int, old_windows: int) -> None:
    """Hold the windows of one stream, which had `swapped` of its `count` readings at the swap, against what is promised."""
    for each in found:
        assert each == list(range(each[0], each[0] + len(each)))
    ends = [each[-1] + 1 for each in found]
    assert all(a < b for a, b in pairwise(ends))
    assert [len(each) for each in found] == [old.samples] * old_windows + [new.samples] * (len(found) - old_windows)
    after = ends[old_windows:]
    assert all(b - a == new.hop for a, b in pairwise(after))
    # The next window comes as early as the new release may have it.
    held_from = max(0, swapped - old.samples)  # it may hold up to as much again
    last_end = ends[old_windows - 1] if old_windows else 0
    latest = max(held_from + new.samples, last_end + new.hop) if old_windows else new.samples
    first = after[0] if after else None
    assert first is None or first <= latest
    assert (after[-1] + new.hop if after else latest) > count
    if new.hop <= new.samples and after:
        covered = {i for each in found for i in each}
        needed = 0 if old.hop <= old.samples else max(last_end, last_end + old.hop - old.samples)  # a long hop skips readings
        assert covered >= set(range(needed, after[-1]))


@settings(deadline=None, max_examples=150)
@given(
    old=geometries,
    new=geometries,
    counts=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=5),
    timed=st.booleans(),
    size=st.integers(1, 50),
)
def test_every_reading_is_in_a_window_and_no_window_comes_twice(
    release_of: Callable[[Geometry], Path], old: Geometry, new: Geometry, counts: list[tuple[int, int]], timed: bool, size: int
) -> None:
    lane = fresh(release_of(old), TIMED if timed else UNTIMED)
    for stream, (before, _) in enumerate(counts):
        for first in range(0, before, size):
            feed(lane, first, min(before, first + size), f"in/{stream}")
    by_old = defaultdict(int)
    for each in lane.kept.outgoing:
        by_old[each.result.key] += 1
    unfinished = lane.pipeline.assembly.windows.all_unfinished()
    swap(lane, release_of(new))
    if old.hop <= old.samples:
        covered_now = unfinished - lane.pipeline.assembly.windows.all_unfinished()
        assert covered_now == sum(_newly(lane.kept.outgoing, f"key={i}", by_old[f"key={i}"], new) for i in range(len(counts)))
    for stream, (before, more) in enumerate(counts):
        for first in range(before, before + more, size):
            feed(lane, first, min(before + more, first + size), f"in/{stream}")
    for stream, (before, more) in enumerate(counts):
        found = windows([each for each in lane.kept.outgoing if each.result.key == f"key={stream}"])
        check_windows(found, old, new, before, before + more, by_old[f"key={stream}"])
    assert lane.counters.dropped == {}
    assert lane.counters.rejected == {}
    assert lane.counters.readings == sum(before + more for before, more in counts)
    ids = [each.result.id for each in lane.kept.outgoing]
    assert len(set(ids)) == len(ids)


def _newly(outgoing: list[Outgoing], key: str, by_old: int, new: Geometry) -> int:
    """Count what the windows that were due at the swap moved out of the unfinished ones."""
    ends = [each[-1] + 1 for each in windows([each for each in outgoing if each.result.key == key])]
    if len(ends) == by_old:
        return 0
    return ends[-1] - (ends[by_old - 1] if by_old else 0)


steps = st.lists(st.sampled_from([1, 1, 1, 1, 1, 1.4, 2, 3, 4.5, 20]), min_size=1, max_size=60)


@settings(deadline=None, max_examples=150)
@given(
    old=st.builds(Geometry, st.integers(1, 6), st.integers(1, 8), st.just("void"), st.sampled_from([10.0, 5.0, 20.0])),
    new=st.builds(
        Geometry, st.integers(1, 6), st.integers(1, 8), st.sampled_from(["void", "hold", "interpolate"]), st.sampled_from([10.0, 5.0, 20.0])
    ),
    walk=steps,
    at=st.integers(0, 60),
)
def test_windows_after_the_swap_are_those_of_a_pipeline_that_always_ran_the_new_release(
    release_of: Callable[[Geometry], Path], old: Geometry, new: Geometry, walk: list[float], at: int
) -> None:
    """Whatever gaps there are and whichever rule and rate judges them."""
    times = (START_MS + np.cumsum([round(step * PERIOD_MS) for step in walk])).tolist()
    readings = [("in/a", json.dumps({"c0": i, "t": time})) for i, time in enumerate(times)]
    swapped, whole = fresh(release_of(old), TIMED), fresh(release_of(Geometry(new.samples, 1, new.gap, new.rate_hz)), TIMED)
    for each in readings[:at]:
        swapped.put(each)
    before = len(swapped.kept.outgoing)
    swap(swapped, release_of(new))
    for each in readings[at:]:
        swapped.put(each)
    whole.put(*readings)
    known = {(each.result.window.start, each.result.window.end): each.result.output for each in whole.kept.outgoing}
    for each in swapped.kept.outgoing[before:]:
        assert known[(each.result.window.start, each.result.window.end)] == each.result.output
    ends = [each.end_ns for each in swapped.kept.outgoing]
    assert all(a < b for a, b in pairwise(ends))


@settings(deadline=None, max_examples=75)
@given(chain=st.lists(geometries, min_size=2, max_size=5), counts=st.lists(st.integers(0, 12), min_size=5, max_size=5))
def test_swaps_in_a_row_lose_nothing_either_and_neither_does_a_stop_after_them(
    release_of: Callable[[Geometry], Path], chain: list[Geometry], counts: list[int]
) -> None:
    chain = [Geometry(each.samples, min(each.hop, each.samples), each.gap) for each in chain]
    lane, count = fresh(release_of(chain[0]), TIMED), 0
    for geometry, more in zip(chain, counts):
        swap(lane, release_of(geometry))
        feed(lane, count, count + more)
        count += more
    carried = lane.pipeline.carry()
    after = fresh(release_of(chain[-1]), TIMED)
    after.pipeline.go_on(carried)
    assert after.pipeline.assembly.windows.all_unfinished() == carried.readings
    before = len(lane.kept.outgoing)
    for each in (lane, after):
        feed(each, count, count + 20)
    assert windows(lane.kept.outgoing[before:]) == windows(after.kept.outgoing)
    found = windows(lane.kept.outgoing)
    assert {i for each in found for i in each} == set(range(found[-1][-1] + 1))
    assert all(a[-1] < b[-1] for a, b in pairwise(found))
    assert lane.counters.dropped == after.counters.dropped == {}


def test_a_longer_window_sees_what_earlier_windows_covered_and_counts_it_once(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    feed(lane, 0, 5)
    swap(lane, release_of(Geometry(10, 2)))
    assert lane.pipeline.assembly.windows.all_unfinished() == 1
    assert lane.pipeline.carry().readings == 1
    feed(lane, 5, 12)
    assert windows(lane.kept.outgoing) == [[0, 1, 2, 3], list(range(10)), list(range(2, 12))]


def test_windows_that_are_due_at_once_come_at_the_swap(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(10, 10)), TIMED)
    feed(lane, 0, 17)
    swap(lane, release_of(Geometry(4, 2)))
    assert windows(lane.kept.outgoing)[1:] == [[8, 9, 10, 11], [10, 11, 12, 13], [12, 13, 14, 15]]


def test_a_stream_that_goes_on_after_a_stop_and_is_swapped_sees_no_reading_that_never_was(release_of: Callable[[Geometry], Path]) -> None:
    before, lane = fresh(release_of(Geometry(4, 3)), TIMED), fresh(release_of(Geometry(4, 3)), TIMED)
    feed(before, 0, 5)
    lane.pipeline.go_on(before.pipeline.carry())
    swap(lane, release_of(Geometry(6, 1)))
    feed(lane, 5, 10)
    assert windows(lane.kept.outgoing) == [list(range(3, 9)), list(range(4, 10))]


def test_late_readings_stay_late_and_duplicates_duplicates(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    feed(lane, 0, 6)
    swap(lane, release_of(Geometry(6, 3, "hold")))
    lane.put(("in/a", payload(5)), ("in/a", payload(4)))
    assert lane.counters.rejected == {"duplicate": 1, "late": 1}
    feed(lane, 6, 8)
    swap(lane, release_of(Geometry(3, 3)))
    lane.put(("in/a", payload(7)), ("in/a", payload(3)))
    assert lane.counters.rejected == {"duplicate": 2, "late": 2}


def test_what_was_late_is_late_too_where_no_reading_went_over(tmp_path: Path, release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    feed(lane, 0, 4)
    for release in (twice(tmp_path / "tensor", 1, 3), release_of(Geometry(4, 4))):
        swap(lane, release)
    feed(lane, 2, 8)
    assert lane.counters.rejected == {"late": 1, "duplicate": 1}
    assert windows(lane.kept.outgoing) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_clock_that_was_set_back_is_found_out_over_the_swap(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    feed(lane, 100, 106)
    feed(lane, 0, 4)  # as many late readings as are waited for
    swap(lane, release_of(Geometry(4, 2)))
    feed(lane, 4, 8)
    assert lane.counters.rejected == {"late": 4}
    assert windows(lane.kept.outgoing)[-1] == [4, 5, 6, 7]


def test_the_stream_that_was_silent_longest_is_let_go_first_after_the_swap_too(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED, max_streams=3)
    for topic in ("in/a", "in/b", "in/c"):
        feed(lane, 0, 1, topic)
    feed(lane, 1, 2, "in/a")
    swap(lane, release_of(Geometry(3, 3)))
    feed(lane, 0, 1, "in/d")
    assert [each.key for each in lane.pipeline.assembly.streams.streams] == ["key=a", "key=d", "key=c"]


def test_a_gap_after_the_swap_is_filled_from_the_last_reading_before_it(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    feed(lane, 0, 4)  # none unfinished, so that only the mark goes over
    swap(lane, release_of(Geometry(4, 4, "hold")))
    feed(lane, 6, 8)
    assert windows(lane.kept.outgoing) == [[0, 1, 2, 3], [3, 3, 6, 7]]
    assert lane.counters.filled == 2


@pytest.mark.parametrize(("gap", "found"), [("void", [[2, 3, 4, 5, 6]]), ("hold", [[1, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]])])
def test_what_was_no_gap_for_the_old_release_is_one_for_the_new(
    release_of: Callable[[Geometry], Path], gap: str, found: list[list[int]]
) -> None:
    """Also among readings that windows covered: those are seen again."""
    lane = fresh(release_of(Geometry(4, 4, rate_hz=5.0)), TIMED)
    readings = [("in/a", json.dumps({"c0": i, "t": START_MS + t * PERIOD_MS})) for i, t in enumerate([0, 1, 3, 4, 5, 6, 7])]
    lane.put(*readings[:4])
    swap(lane, release_of(Geometry(5, 1, gap)))
    lane.put(*readings[4:])
    assert windows(lane.kept.outgoing) == [[0, 1, 2, 3], *found]
    assert (lane.counters.dropped, lane.counters.rejected) == ({}, {})


def test_streams_for_which_there_is_no_room_any_more_are_counted(tmp_path: Path, release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(2, 2)), TIMED, max_streams=3000)
    lane.put(*[(f"in/{i}", payload(0)) for i in range(2100)])
    lane.put(("in/0", payload(1)), ("in/0", payload(2)))
    swap(lane, twice(tmp_path / "long", 1, 2000, 2000))
    streams = lane.pipeline.assembly.streams
    assert len(streams.streams) == streams.limit < 2100
    assert streams.evicted == lane.counters.dropped["stream-let-go"] == 2100 - streams.limit
    assert "key=0" in [each.key for each in streams.streams]
    assert "key=1" not in [each.key for each in streams.streams]


def test_whole_messages_after_windows_and_windows_after_whole_messages(tmp_path: Path, release_of: Callable[[Geometry], Path]) -> None:
    tensor = twice(tmp_path / "tensor", 1, 3)
    lane = fresh(release_of(Geometry(4, 4)), UNTIMED)
    feed(lane, 0, 6)
    swap(lane, tensor)
    assert lane.counters.dropped == {"release-changed": 2}
    lane.put(("in/a", '{"c0": [7, 8, 9]}'))
    swap(lane, release_of(Geometry(4, 4)))
    feed(lane, 10, 14)
    assert windows(lane.kept.outgoing) == [[0, 1, 2, 3], [7, 8, 9], [10, 11, 12, 13]]


def test_labels_of_messages_stay_with_their_streams(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(2, 2)), {**TIMED, "labels": ["k"]})
    for i in range(3):
        lane.put(("in/a", payload(i, k="x")), ("in/a", payload(i, k="y")))
    swap(lane, release_of(Geometry(3, 1)))
    lane.put(("in/a", payload(3, k="y")))
    assert [(each.key, each.labels) for each in lane.kept.results[-3:]] == [
        ("key=a/k=x", {"key": "a", "k": "x"}),
        ("key=a/k=y", {"key": "a", "k": "y"}),
        ("key=a/k=y", {"key": "a", "k": "y"}),
    ]


def test_a_header_that_a_decoder_knows_stays_known(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(2, 2)), {"type": "csv", "channels": ["c0"]})
    lane.put(("in/a", "other,c0\n1,0\n1,1\n1,2"))
    swap(lane, release_of(Geometry(2, 2, rate_hz=20.0)))
    lane.put(("in/a", "1,3"))
    assert windows(lane.kept.outgoing) == [[0, 1], [2, 3]]


def test_readings_of_one_message_are_spaced_by_the_rate_of_the_release_that_runs(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(2, 2)), TIMED)
    swap(lane, release_of(Geometry(2, 2, rate_hz=20.0)))
    lane.put(("in/a", '{"c0": [1, 2], "t": 1795351772000}'))
    window = lane.kept.results[0].window
    assert (window.start[-5:], window.end[-5:]) == (".000Z", ".050Z")


# -- what the results say ---------------------------------------------------------------------


def wide(message: str) -> str:
    """Give a message of the recording as a sensor with more channels sends it."""
    m = json.loads(message)
    return json.dumps({"ts": m["ts"], "temp": 21.5, "acc": {"x": m["x"], "y": m["y"], "z": m["z"]}})


def test_a_release_takes_its_channels_by_name_and_the_next_takes_all_again(tmp_path: Path) -> None:
    recording = messages("walking_01")
    four = {"type": "json", "channels": ["acc.z", "temp", "acc.y", "acc.x"], "time": "ts"}
    plain = Lane(HAR, {"type": "json", "channels": ["x", "y", "z"], "time": "ts"})
    plain.put(*[("in/a", each) for each in recording])
    all_four = twice(tmp_path / "four", 4, 130, 130, 26.0)
    lane = fresh(all_four, four)
    lane.put(*[("in/a", wide(each)) for each in recording[:250]])
    swap(lane, HAR)
    lane.put(*[("in/a", wide(each)) for each in recording[250:700]])
    swap(lane, all_four)
    lane.put(*[("in/a", wide(each)) for each in recording[700:]])
    by_har = [each for each in lane.kept.results if each.model.name == "har"]
    assert len(by_har) == 4
    known = {each.window.end: each.output for each in plain.kept.results}
    assert [each.output for each in by_har] == [known[each.window.end] for each in by_har]
    last = lane.kept.results[-1].output["values"]
    assert last[-4:] == pytest.approx([2 * json.loads(recording[909])[axis] if axis else 43.0 for axis in ("z", "", "y", "x")], rel=1e-5)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(["c0", "c1"], 3), (["x", "y"], 1), (["a.c0", "b.c0"], 1), (["a.c0", "b.c0", "c1"], 2)],
)
def test_channels_that_do_not_match_are_refused_and_nothing_changes(tmp_path: Path, given: list[str], wanted: int) -> None:
    lane = Lane(twice(tmp_path / "m", len(given), 2, 2), {"type": "json", "channels": given})
    inference = load(twice(tmp_path / "next", wanted, 2, 2))
    with pytest.raises(OperatorError) as raised:
        lane.pipeline.swap(inference)
    assert raised.value.code == "channels-do-not-match"
    inference.close()
    assert lane.pipeline.take() is None
    assert lane.pipeline.swaps == 0


def with_output(folder: Path, base: Path, task: str, output: str, release: int = 1) -> Path:
    changes = [
        ('task = "regress"', f'task = "{task}"'),
        ("release = 1", f"release = {release}"),
        ("[[variants]]", f"{output}\n[[variants]]"),
    ]
    return changed(base, folder, *changes)


ALARM = '[output]\nthreshold = 3.0\nscore = "max"\nsmooth = { op = "mean", windows = 3 }\nalarm = { on = 3.0, off = 2.0, quiet_s = 9 }'


def test_another_task_with_other_labels_takes_the_same_readings(tmp_path: Path) -> None:
    base = twice(tmp_path / "base", 1, 2, 2)
    anomaly = with_output(tmp_path / "a", base, "anomaly", ALARM)
    classify = with_output(tmp_path / "c", base, "classify", '[output]\nlabels = ["low", "high"]', 2)
    renamed = changed(classify, tmp_path / "r", ("release = 2", "release = 3"), ('["low", "high"]', '["down", "up"]'))
    lane = fresh(anomaly, TIMED)
    feed(lane, 0, 5)
    for release in (classify, renamed, anomaly):
        swap(lane, release)
        count = lane.counters.readings
        feed(lane, count, count + 2)
    outputs = [each.output for each in lane.kept.results]
    assert outputs[2]["label"] == "high"
    assert outputs[2]["scores"] == {"low": 8, "high": 10}
    assert outputs[3]["scores"] == {"down": 12, "up": 14}
    assert outputs[4]["score"] == 9  # the largest difference of 2·x and x, and no score from before
    assert [each.model.release for each in lane.kept.results] == [1, 1, 2, 3, 1]


def two_variants(tmp_path: Path) -> Path:
    base = with_output(tmp_path / "alarm", twice(tmp_path / "base", 1, 2, 2), "anomaly", ALARM)
    path = base / "model.toml"
    path.write_text(path.read_text() + '[[variants]]\nname = "copy"\nengine = "tflite"\nfile = "twice.tflite"\n')
    return base


def test_alarm_and_smoothing_go_over_to_another_variant_and_begin_anew_with_another_release(tmp_path: Path) -> None:
    release = two_variants(tmp_path)
    lane, plain = fresh(release, TIMED), fresh(release, TIMED)
    for each in (lane, plain):
        feed(each, 2, 6)
    swap(lane, release, only="copy")
    for each in (lane, plain):
        feed(each, 6, 10)
    assert [each.model.variant for each in lane.kept.results] == ["fp32", "fp32", "copy", "copy"]
    assert [(each.output, each.alarm) for each in lane.kept.results] == [(each.output, each.alarm) for each in plain.kept.results]
    assert [each.changed for each in lane.kept.outgoing] == [each.changed for each in plain.kept.outgoing]
    swap(lane, changed(release, tmp_path / "next", ("release = 1", "release = 2")))
    feed(lane, 10, 12)
    assert lane.kept.results[-1].output["score"] == 11  # no mean with what came before
    assert lane.kept.outgoing[-1].changed


def test_a_variant_that_is_below_the_minimum_or_unknown_is_not_loaded(tmp_path: Path) -> None:
    release = two_variants(tmp_path)
    with pytest.raises(EdgedError) as unknown:
        load(release, only="none")
    assert unknown.value.code == "no-such-variant"
    path = release / "model.toml"
    text = path.read_text().replace('name = "copy"', 'name = "copy"\nquality = 0.1')
    path.write_text(text.replace("[input]", '[quality]\nmetric = "accuracy"\nminimum = 0.5\n[input]'))
    with pytest.raises(EdgedError) as bad:
        load(release, only="copy")
    assert bad.value.code == "quality-too-low"
    assert load(release, only="fp32").model.variant == "fp32"


@each_runtime
def test_another_runtime_goes_on_where_the_first_was(runtime: str) -> None:
    recording = [("in/a", each) for each in messages("running_01")]
    decoder = {"type": "json", "channels": ["x", "y", "z"], "time": "ts"}
    lane, plain = Lane(HAR, decoder), Lane(HAR, decoder)
    plain.put(*recording)
    lane.put(*recording[:600])
    swap(lane, HAR, prefer=runtime)
    lane.put(*recording[600:])
    assert [(each.window, each.output["label"]) for each in lane.kept.results] == [
        (each.window, each.output["label"]) for each in plain.kept.results
    ]


def test_a_graph_with_state_begins_anew_for_each_stream_and_can_be_left_again(tmp_path: Path, rnn: Path) -> None:
    plain = twice(tmp_path / "plain", 1, 2, 2)
    smooth = ("[[variants]]", '[output]\nsmooth = { op = "mean", windows = 2 }\n[[variants]]')
    state = ("samples = 2", "samples = 2\nstateful = true")
    stateful = changed(plain, tmp_path / "stateful", state, smooth, ("release = 1", "release = 2"))
    (stateful / "twice.tflite").write_bytes(rnn.read_bytes())
    lane = fresh(plain, TIMED)
    ones = [("in/a", json.dumps({"c0": 1, "t": START_MS + i * PERIOD_MS})) for i in range(20)]
    lane.put(*ones[:3])
    swap(lane, stateful)
    lane.put(*ones[3:6])
    swap(lane, stateful)
    lane.put(*ones[6:9])
    swap(lane, plain)
    lane.put(*ones[9:10])
    outputs = [each.output["values"] for each in lane.kept.results]
    assert outputs == [[2, 2], [1, 1.5], [1.375, 1.6875], [1, 1.5], [2, 2]]


# -- a worker under load ----------------------------------------------------------------------


class Running:
    """A pipeline on a worker of its own; `queue` as in a configuration."""

    def __init__(self, release: Path, worker: Worker | None = None, **queue: Any) -> None:
        self.kept = Kept()
        self.worker = worker or Worker("swapped")
        table = {
            "name": "lane",
            "model_dir": str(release),
            "source": {"type": "mqtt", "topic": "in/{key}"},
            "decoder": TIMED,
            "queue": queue,
        }
        options = msgspec.convert(table, schema.Pipeline)
        around = Around("device", "fleet", "run", SystemClock(), partial(open_engine, prefer=RUNTIME), lambda *_: None)
        self.pipeline = build_pipeline(options, load_release(release), [Sink(self.kept, "always")], self.worker.wake, around)
        self.worker.add(self.pipeline)
        if worker is None:
            self.worker.start()

    def put(self, first: int, last: int, streams: int = 1) -> None:
        """Put readings of some streams as one batch; waits as the queue's policy says."""
        rows = [(f"in/{stream}".encode(), payload(i).encode()) for i in range(first, last) for stream in range(streams)]
        clock = self.pipeline.clock
        self.pipeline.inbox.put(Batch([topic for topic, _ in rows], [row for _, row in rows], clock.wall(), clock.mono()))

    def results(self, count: int) -> list[Outgoing]:
        """Wait for `count` results and give all."""
        until(lambda: len(self.kept.outgoing) >= count, f"{count} results", lambda: self.pipeline.last_error)
        return self.kept.outgoing

    def stop(self) -> None:
        self.pipeline.inbox.close()
        assert self.worker.stop(PATIENCE_S)
        self.pipeline.close()


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """Give a function that runs a release; all are stopped."""
    made: list[Running] = []

    def make(release: Path, worker: Worker | None = None, **queue: Any) -> Running:
        made.append(Running(release, worker, **queue))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def done(change: Change) -> Change:
    assert change.wait(PATIENCE_S)
    return change


class Feeder:
    """A thread that puts batches as fast as they are taken, until it is stopped."""

    def __init__(self, running: Running, streams: int) -> None:
        self.count = 0  # readings of each stream
        self._running, self._streams = running, streams
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        while not self._stopping.is_set():
            self._running.put(self.count, self.count + 16, self._streams)
            self.count += 16

    def stop(self) -> int:
        """End it; give how many readings of each stream it put."""
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.count


def test_fifty_swaps_under_full_load_lose_no_reading_and_repeat_no_result(
    release_of: Callable[[Geometry], Path], run: Callable[..., Running]
) -> None:
    geometries = {1: Geometry(4, 4), 2: Geometry(6, 3, "hold"), 3: Geometry(5, 5)}
    releases = [release_of(each) for each in geometries.values()]
    running, streams = run(releases[0], size=256, full="block"), 4
    feeder = Feeder(running, streams)
    for i in range(50):
        running.results(len(running.kept.outgoing) + 1)
        change = done(running.pipeline.swap(load(releases[(i + 1) % 3])))
        assert change.error is None
        assert change.gap_ns > 0
    count = feeder.stop()
    until(lambda: not running.pipeline.inbox.waiting and not running.pipeline.busy_since, "the last batch")
    counters = running.pipeline.counters
    assert running.pipeline.swaps == 50
    assert (counters.readings, counters.dropped, counters.rejected) == (count * streams, {}, {})
    assert running.pipeline.last_error is None
    for stream in range(streams):
        mine = [each for each in running.kept.outgoing if each.result.key == f"key={stream}"]
        ends = [(each.end_ns - START_NS) // (PERIOD_MS * 1_000_000) for each in mine]
        assert all(a < b for a, b in pairwise(ends))
        covered = 0
        for end, each in zip(ends, mine):
            first = end - each.result.window.samples + 1
            assert first <= covered, "readings that are in no window"
            assert each.result.output["values"] == [float(f"{2 * i:.6g}") for i in range(first, end + 1)]
            covered = end + 1
        assert count - covered < 6


def test_an_idle_worker_swaps_at_once(release_of: Callable[[Geometry], Path], run: Callable[..., Running]) -> None:
    running = run(release_of(Geometry(4, 4)))
    since = running.pipeline.fitted_since
    assert done(running.pipeline.swap(load(release_of(Geometry(2, 2))))).error is None
    assert (running.pipeline.swaps, running.pipeline.busy_since) == (1, 0)
    assert running.pipeline.fitted_since > since
    running.put(0, 2)
    assert windows(running.results(1)) == [[0, 1]]


def test_the_old_model_is_closed_and_the_times_of_the_new_one_begin_anew(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    old = lane.pipeline.inference
    feed(lane, 0, 4)
    assert lane.counters.infer.recent().count() == 1
    swap(lane, release_of(Geometry(2, 2)))
    assert lane.counters.infer.recent().count() == 0
    with pytest.raises(BugError):
        old.scores(np.zeros((1, 4, 1), np.float32), np.zeros(1, np.intp))


def test_a_pipeline_that_is_added_to_a_worker_under_load_runs(release_of: Callable[[Geometry], Path], run: Callable[..., Running]) -> None:
    first = run(release_of(Geometry(4, 4)), size=64, full="block")
    feeder = Feeder(first, 1)
    others = []
    for _ in range(5):
        before = len(first.kept.outgoing)
        others.append(run(release_of(Geometry(2, 2)), first.worker))
        others[-1].put(0, 4)
        assert windows(others[-1].results(2)) == [[0, 1], [2, 3]]
        first.results(before + 1)
    feeder.stop()
    assert first.worker.load == 6


# -- a gap ------------------------------------------------------------------------------------


class Slow:
    """A load that takes until it is let go."""

    def __init__(self, release: Path) -> None:
        self._release = release
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self) -> Inference:
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        return load(self._release)


def fail(code: str) -> Callable[[], Inference]:
    def raising() -> Inference:
        raise BoardError(code, f"{code} happened")

    return raising


@pytest.mark.parametrize(("full", "lost"), [("block", 0), ("drop-oldest", 8), ("drop-newest", 8)])
def test_messages_queue_while_a_model_loads(
    release_of: Callable[[Geometry], Path], run: Callable[..., Running], full: str, lost: int
) -> None:
    running, slow = run(release_of(Geometry(4, 4)), size=8, full=full), Slow(release_of(Geometry(2, 2)))
    running.put(0, 4)
    running.results(1)
    change = running.pipeline.swap_over_gap(slow, fail("unused"))
    assert slow.begun.wait(PATIENCE_S)
    assert running.pipeline.loading
    assert running.pipeline.busy_since == 0
    source = threading.Thread(target=lambda: [running.put(4 + i, 8 + i) for i in range(0, 16, 4)], daemon=True)
    source.start()
    until(lambda: running.pipeline.inbox.waiting == 8, "a full queue")
    until(lambda: running.pipeline.inbox.dropped == lost, "what is dropped")
    assert not change.over
    slow.go.set()
    assert done(change).error is None
    source.join(PATIENCE_S)
    assert change.waited >= 8 if full == "block" else change.waited == 8
    assert running.pipeline.loading == 0
    found = windows(running.results(9 - lost // 2))
    first = {"block": 4, "drop-oldest": 12, "drop-newest": 4}[full]
    assert found == [[0, 1, 2, 3], *([i, i + 1] for i in range(first, first + 16 - lost, 2))]
    assert running.pipeline.inbox.dropped == lost


def test_the_time_without_a_model_is_told(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)

    def three_seconds() -> Inference:
        lane.clock.advance(3 * NS)
        return load(release_of(Geometry(2, 2)))

    change = lane.pipeline.swap_over_gap(three_seconds, fail("unused"))
    lane.pipeline.take()
    assert (change.over, change.error, change.gap_ns, change.waited) == (True, None, 3 * NS, 0)


def test_a_model_that_does_not_load_leaves_the_old_one_which_goes_on_in_the_middle_of_a_window(
    release_of: Callable[[Geometry], Path],
) -> None:
    release = release_of(Geometry(4, 6))
    lane = Lane(release, TIMED)
    feed(lane, 0, 7)
    change = lane.pipeline.swap_over_gap(fail("no-memory"), lambda: load(release))
    lane.pipeline.take()
    assert change.error is not None
    assert change.error.code == "no-memory"
    assert (lane.pipeline.fault, lane.pipeline.swaps) == (None, 0)
    feed(lane, 7, 16)
    assert windows(lane.kept.outgoing) == [[0, 1, 2, 3], [6, 7, 8, 9], [12, 13, 14, 15]]
    assert lane.counters.dropped == {}


def test_a_model_of_other_channels_is_refused_after_the_gap_too(tmp_path: Path, release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(2, 2)), TIMED)
    change = lane.pipeline.swap_over_gap(lambda: load(twice(tmp_path / "two", 2, 2, 2)), lambda: load(release_of(Geometry(2, 2))))
    lane.pipeline.take()
    assert change.error is not None
    assert change.error.code == "channels-do-not-match"
    feed(lane, 0, 2)
    assert windows(lane.kept.outgoing) == [[0, 1]]


@pytest.mark.parametrize("over_gap", [False, True])
def test_where_both_fail_messages_are_counted_until_a_later_swap_mends_it(
    release_of: Callable[[Geometry], Path], run: Callable[..., Running], over_gap: bool
) -> None:
    running, release = run(release_of(Geometry(4, 4))), release_of(Geometry(2, 2))
    running.put(0, 3)
    until(lambda: running.pipeline.counters.readings == 3, "the readings")
    change = done(running.pipeline.swap_over_gap(fail("no-memory"), fail("file-gone")))
    assert change.error is not None
    assert change.error.code == "no-memory"
    assert running.pipeline.fault is not None
    assert running.pipeline.fault.code == "file-gone"
    running.put(3, 8)
    until(lambda: running.pipeline.counters.dropped == {"file-gone": 8}, "what is let go", lambda: running.pipeline.counters.dropped)
    assert running.worker.alive
    good = partial(load, release)
    change = running.pipeline.swap_over_gap(good, good) if over_gap else running.pipeline.swap(good())
    assert done(change).error is None
    running.put(8, 10)
    assert windows(running.results(1)) == [[8, 9]]
    assert running.pipeline.fault is None


def test_a_pipeline_without_a_model_can_be_stopped_and_carries_nothing(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    feed(lane, 0, 3)
    lane.pipeline.swap_over_gap(fail("no-memory"), fail("file-gone"))
    lane.pipeline.take()
    assert lane.pipeline.carry().readings == 0
    assert lane.pipeline.inference.model.name == "twice"
    lane.pipeline.close()


def test_an_error_that_nobody_expected_is_ours_and_the_old_model_goes_on(
    release_of: Callable[[Geometry], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lane, inference = fresh(release_of(Geometry(4, 4)), TIMED), load(release_of(Geometry(2, 2)))
    feed(lane, 0, 3)
    change = lane.pipeline.swap(inference)
    with monkeypatch.context() as patch:
        patch.setattr("edged.stream.swap.take_over", lambda *_: 1 / 0)
        lane.pipeline.take()
    assert change.over
    assert change.error is not None
    assert change.error.family == "bug"
    with pytest.raises(BugError):
        inference.scores(np.zeros((1, 2, 1), np.float32), np.zeros(1, np.intp))
    feed(lane, 3, 4)
    assert windows(lane.kept.outgoing) == [[0, 1, 2, 3]]


def test_a_model_that_fails_in_the_windows_that_are_due_costs_those_only(
    release_of: Callable[[Geometry], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lane, inference = fresh(release_of(Geometry(4, 4)), TIMED), load(release_of(Geometry(2, 2)))
    feed(lane, 0, 3)
    change = lane.pipeline.swap(inference)
    with monkeypatch.context() as patch:
        patch.setattr(inference, "scores", lambda *_: 1 / 0)
        lane.pipeline.take()
    assert (change.over, change.error, lane.counters.dropped) == (True, None, {"pipeline-bug": 3})
    assert lane.counters.failed_windows == 1
    lane.pipeline.last_error = None
    lane.put(("in/a", payload(2)))
    assert lane.counters.rejected == {"duplicate": 1}
    feed(lane, 3, 4)
    assert windows(lane.kept.outgoing) == [[2, 3]]


# -- two at once, and none --------------------------------------------------------------------


def test_a_change_that_was_not_taken_up_can_be_cancelled_and_another_asked_for(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    inference = load(release_of(Geometry(2, 2)))
    change = lane.pipeline.swap(inference)
    assert change.cancel()
    assert change.over
    assert change.error is not None
    assert change.error.code == "cancelled"
    assert not change.cancel()
    with pytest.raises(BugError):
        inference.scores(np.zeros((1, 2, 1), np.float32), np.zeros(1, np.intp))
    swap(lane, release_of(Geometry(2, 2)))
    feed(lane, 0, 2)
    assert windows(lane.kept.outgoing) == [[0, 1]]
    assert lane.pipeline.swaps == 1


def test_a_change_that_was_taken_up_is_made(release_of: Callable[[Geometry], Path], run: Callable[..., Running]) -> None:
    running, slow = run(release_of(Geometry(4, 4))), Slow(release_of(Geometry(2, 2)))
    change = running.pipeline.swap_over_gap(slow, fail("unused"))
    assert slow.begun.wait(PATIENCE_S)
    assert not change.cancel()
    slow.go.set()
    assert done(change).error is None


def test_a_second_change_at_once_is_refused_and_its_model_stays_with_who_asked(release_of: Callable[[Geometry], Path]) -> None:
    lane, second = fresh(release_of(Geometry(4, 4)), TIMED), load(release_of(Geometry(3, 3)))
    first = lane.pipeline.swap(load(release_of(Geometry(2, 2))))
    with pytest.raises(BugError) as refused:
        lane.pipeline.swap(second)
    assert refused.value.code == "change-under-way"
    lane.pipeline.take()
    assert first.error is None
    change = lane.pipeline.swap(second)
    lane.pipeline.take()
    assert change.error is None


def test_a_change_that_waits_when_the_pipeline_ends_is_cancelled(release_of: Callable[[Geometry], Path]) -> None:
    lane = fresh(release_of(Geometry(4, 4)), TIMED)
    change = lane.pipeline.swap(load(release_of(Geometry(2, 2))))
    lane.pipeline.close()
    assert change.over
    assert change.error is not None
    assert change.error.code == "cancelled"
