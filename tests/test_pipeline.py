"""One pipeline in this process: whatever way readings come in, each stream gives the windows it gives alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edged.clock import iso
from edged.records import Batch, Readings, Result
from edged.stream.seen import Seen
from tests.daemon import HAR
from tests.lanes import START_NS, Lane
from tests.recordings import START_MS, window_message
from tests.releases import changed, twice

SAMPLES, HOP, RATE_HZ = 5, 2, 10.0
PERIOD_MS = 100
JSON = {"type": "json", "channels": ["v"]}
TIMED = {**JSON, "time": "t"}

_fresh = count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("releases")


@pytest.fixture(scope="module")
def release(folder: Path) -> Path:
    """Give a release whose results show the window: its values, times two."""
    return twice(folder / "void", 1, SAMPLES, HOP, RATE_HZ)


def values_of(results: list[Result]) -> list[list[float]]:
    """Give the windows that the results speak of."""
    return [[value / 2 for value in each.output["values"]] for each in results]


def windows_of(values: list[float]) -> list[list[float]]:
    """Cut windows the plain way."""
    return [values[i : i + SAMPLES] for i in range(0, len(values) - SAMPLES + 1, HOP)]


# -- without event time: the plain way is the oracle ------------------------------------------

deals = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=40)  # stream, readings in one message
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=10)  # messages in each batch, over and over


def in_batches(messages: list[tuple[str, str]], sizes: list[int]) -> Iterator[list[tuple[str, str]]]:
    position = turn = 0
    while position < len(messages):
        size = sizes[turn % len(sizes)]
        yield messages[position : position + size]
        position, turn = position + size, turn + 1


@pytest.fixture(scope="module")
def shared(release: Path) -> Lane:
    """Give one lane for many examples, each with keys of its own."""
    return Lane(release, JSON)


@settings(deadline=None)
@given(deals=deals, sizes=cuts, arrays=st.booleans())
def test_any_interleaving_in_any_batches_gives_each_stream_the_windows_it_has_alone(
    shared: Lane, deals: list[tuple[int, int]], sizes: list[int], arrays: bool
) -> None:
    example = next(_fresh)
    sent: dict[str, list[float]] = {}
    messages = []
    for stream, readings in deals:
        key = f"{example}-{stream}"
        values = sent.setdefault(key, [])
        new = [float(len(values) + i) for i in range(readings)]
        values += new
        messages += [(f"in/{key}", json.dumps({"v": new}))] if arrays else [(f"in/{key}", json.dumps({"v": value})) for value in new]
    before = len(shared.kept.outgoing)
    for batch in in_batches(messages, sizes):
        shared.put(*batch)
    results = shared.kept.results[before:]
    for key, values in sent.items():
        assert values_of([each for each in results if each.key == f"key={key}"]) == windows_of(values)
    assert len(results) == sum(len(windows_of(values)) for values in sent.values())


# -- with event time: one message at a time is the oracle -------------------------------------


@dataclass
class Outcome:
    """What came of messages, in a form that can be compared."""

    by_key: dict[str, list[tuple[str, str, str, Any]]]
    rejected: dict[str, int]
    dropped: dict[str, int]
    readings: int
    windows: int
    filled: int


def outcome(lane: Lane, batches: Iterator[list[tuple[str, str]]]) -> Outcome:
    for batch in batches:
        lane.put(*batch)
    by_key: dict[str, list[tuple[str, str, str, Any]]] = {}
    for each in lane.kept.results:
        by_key.setdefault(each.key, []).append((each.id, each.window.start, each.window.end, each.output))
    c = lane.counters
    return Outcome(by_key, c.rejected, c.dropped, c.readings, c.windows, c.filled)


# Steps of event time in periods: onward mostly, duplicates, late ones, small and large gaps.
steps = st.sampled_from([1, 1, 1, 1, 1, 1, 1.4, 0, -1, -3, 2, 3, 4.5, 20])
walks = st.lists(st.tuples(st.integers(0, 2), steps), max_size=80)


@pytest.fixture(scope="module", params=["void", "hold", "interpolate"])
def gap_release(request: pytest.FixtureRequest, folder: Path) -> Path:
    return twice(folder / f"gap-{request.param}", 1, SAMPLES, HOP, RATE_HZ, gap=request.param)


@settings(max_examples=60, deadline=None)
@example(walk=[(0, 1), (0, -3), (0, 1), (0, 1), (0, 1), (0, 1), (0, -1), (0, 1)], sizes=[2])
@given(walk=walks, sizes=cuts)
def test_batches_of_timed_readings_of_mixed_streams_give_what_single_messages_give(
    gap_release: Path, walk: list[tuple[int, float]], sizes: list[int]
) -> None:
    times = [START_MS, START_MS, START_MS]
    messages = []
    for i, (stream, step) in enumerate(walk):
        times[stream] += round(step * PERIOD_MS)
        messages.append((f"in/{stream}", json.dumps({"v": i, "t": times[stream]})))
    batched = outcome(Lane(gap_release, TIMED), in_batches(messages, sizes))
    single = outcome(Lane(gap_release, TIMED), in_batches(messages, [1]))
    assert batched == single


# -- the rules for gaps, by hand --------------------------------------------------------------


def timed(*readings: tuple[float, float]) -> list[tuple[str, str]]:
    """Make messages of one stream: value, and time in periods."""
    return [("in/a", json.dumps({"v": value, "t": START_MS + round(at * PERIOD_MS)})) for value, at in readings]


def at(periods: float) -> str:
    return iso(START_NS + round(periods * PERIOD_MS * 1_000_000))


def test_void_lets_the_unfinished_window_go_at_a_gap(release: Path) -> None:
    lane = Lane(release, TIMED)
    lane.put(*timed((0, 0), (1, 1), (2, 2), (3, 3), *((i, i + 2) for i in range(4, 9))))
    assert values_of(lane.kept.results) == [[4, 5, 6, 7, 8]]
    assert (lane.kept.results[0].window.start, lane.kept.results[0].window.end) == (at(6), at(10))
    assert lane.counters.dropped == {"gap": 4}
    assert lane.counters.readings == 9


def test_hold_repeats_the_last_reading_over_a_gap(folder: Path) -> None:
    lane = Lane(twice(folder / "hold", 1, SAMPLES, HOP, RATE_HZ, gap="hold"), TIMED)
    lane.put(*timed((10, 0), (20, 1), (30, 4)))
    assert values_of(lane.kept.results) == [[10, 20, 20, 20, 30]]
    assert (lane.counters.filled, lane.counters.readings, lane.counters.dropped) == (2, 3, {})


def test_interpolate_draws_a_line_over_a_gap(folder: Path) -> None:
    lane = Lane(twice(folder / "interpolate", 1, SAMPLES, HOP, RATE_HZ, gap="interpolate"), TIMED)
    lane.put(*timed((10, 0)), *timed((20, 1)))
    lane.put(*timed((50, 4)))
    assert values_of(lane.kept.results) == [[10, 20, 30, 40, 50]]
    assert lane.counters.filled == 2


@pytest.mark.parametrize("gap", ["hold", "interpolate"])
def test_a_gap_longer_than_a_window_is_void_whatever_the_rule(tmp_path: Path, gap: str) -> None:
    lane = Lane(twice(tmp_path / "twice", 1, SAMPLES, HOP, RATE_HZ, gap=gap), TIMED)
    lane.put(*timed((1, 0), (2, 1), (3, 8), *((i, i + 5) for i in range(4, 8))))
    assert values_of(lane.kept.results) == [[3, 4, 5, 6, 7]]
    assert (lane.counters.filled, lane.counters.dropped) == (0, {"gap": 2})


def test_a_clock_that_was_set_back_is_followed_after_a_window_of_late_readings(release: Path) -> None:
    lane = Lane(release, TIMED)
    lane.put(*timed(*((i, 1_000_000 + i) for i in range(3))))
    lane.put(*timed(*((100 + i, i) for i in range(SAMPLES + 1 + SAMPLES))))
    assert lane.counters.rejected == {"late": SAMPLES}
    assert values_of(lane.kept.results)[0] == [105, 106, 107, 108, 109]
    assert lane.counters.dropped == {"gap": 3}


@pytest.mark.parametrize("step", [1, 10])
def test_late_readings_that_are_not_in_a_row_do_not_set_the_clock_back(release: Path, step: int) -> None:
    """As on a network that now and then brings a packet late, for days; also where each reading comes after a gap."""
    lane = Lane(release, TIMED)
    for i in range(1, 3 * SAMPLES):
        lane.put(*timed((i, step * i)))
        lane.put(*timed((i, step * i - 2)))
    assert lane.counters.rejected == {"late": 3 * SAMPLES - 1}
    windows = windows_of([float(i) for i in range(1, 3 * SAMPLES)])
    assert values_of(lane.kept.results) == (windows if step == 1 else [])


def test_smoothing_begins_anew_after_a_gap(tmp_path: Path) -> None:
    smooth = ('activation = "none"', 'activation = "none"\nsmooth = { op = "mean", windows = 3 }')
    decoder = {"type": "json", "channels": ["x", "y", "z"], "time": "ts"}
    lane = Lane(changed(HAR, tmp_path / "release", smooth, ("hop = 130", "hop = 260")), decoder)
    for i in range(3):
        lane.put(("in/a", window_message("walking_01", START_MS + 10_000 * i)))
    lane.put(("in/a", window_message("running_01", START_MS + 30_000)))
    lane.put(("in/a", window_message("running_01", START_MS + 60_000)))  # twenty seconds later
    labels = [(each.output["label"], round(each.output["score"], 1)) for each in lane.kept.results]
    assert labels == [("walking", 1.0)] * 3 + [("walking", 0.7), ("running", 1.0)]


def test_the_gap_of_one_stream_leaves_the_others_alone(release: Path) -> None:
    lane = Lane(release, TIMED)
    steady = [("in/b", json.dumps({"v": i, "t": START_MS + i * PERIOD_MS})) for i in range(5)]
    lane.put(*timed((0, 0), (1, 1)), *steady[:3])
    lane.put(*timed((2, 50)), *steady[3:])
    assert {each.key: values_of([each])[0] for each in lane.kept.results} == {"key=b": [0, 1, 2, 3, 4]}


# -- labels -----------------------------------------------------------------------------------


def test_labels_in_messages_and_in_the_topic_together_tell_streams_apart(release: Path) -> None:
    lane = Lane(release, {**JSON, "labels": ["place.room", "unit"]}, topic="{line}/in")
    for i in range(SAMPLES):
        lane.put(*((f"{line}/in", json.dumps({"v": i + 10 * u, "place": {"room": "hall"}, "unit": u})) for line in "ab" for u in (1, 2)))
    assert {each.key: values_of([each])[0] for each in lane.kept.results} == {
        f"line={line}/room=hall/unit={u}": [i + 10 * u for i in range(SAMPLES)] for line in "ab" for u in (1, 2)
    }
    assert lane.kept.results[0].labels == {"line": "a", "room": "hall", "unit": "1"}


def test_a_message_without_its_label_or_with_two_is_refused_and_the_rest_of_the_batch_is_not(release: Path) -> None:
    lane = Lane(release, {**JSON, "labels": ["unit"]}, topic="in")
    good = json.dumps({"v": [1, 2, 3, 4, 5], "unit": "a"})
    lane.put(("in", '{"v": 1}'), ("in", good), ("in", '[{"v": 1, "unit": "a"}, {"v": 2, "unit": "b"}]'), ("in", '{"v": 1, "unit": [1]}'))
    assert [each.key for each in lane.kept.results] == ["unit=a"]
    assert lane.counters.rejected == {"missing-channel unit": 1, "mixed-labels": 1, "wrong-type": 1}
    assert [each.message for each in sorted(lane.rejected, key=lambda each: each.message)] == [0, 2, 3]


# -- whole inputs -----------------------------------------------------------------------------


def test_a_tensor_takes_messages_of_its_length_and_refuses_others_in_the_same_batch(folder: Path) -> None:
    lane = Lane(twice(folder / "tensor", 2, 3), {"type": "packed", "layout": "<hh", "channels": ["c0", "c1"]})
    rows = {n: b"".join(bytes([i, 0]) for i in range(2 * n)) for n in range(5)}
    lane.put(*((f"in/{key}", rows[n]) for key, n in (("a", 3), ("b", 2), ("a", 4), ("c", 3), ("a", 3), ("b", 0))))
    assert [(each.key, values_of([each])[0]) for each in lane.kept.results] == [(f"key={key}", [0, 1, 2, 3, 4, 5]) for key in "aca"]
    assert lane.counters.rejected == {"wrong-length": 3}
    assert {each.message: each.detail for each in lane.rejected} == {
        1: "2 readings instead of 3",
        2: "4 readings instead of 3",
        5: "0 bytes, records are of 4",
    }


# -- what a batch owes ------------------------------------------------------------------------


def test_a_model_that_gives_no_number_is_counted_and_the_next_window_is_judged(release: Path) -> None:
    lane = Lane(release, JSON)
    lane.put(("in/a", json.dumps({"v": [3e38] * SAMPLES})))
    assert lane.kept.results == []
    assert lane.counters.dropped == {"model-nan": 1}
    lane.put(("in/b", json.dumps({"v": [1] * SAMPLES})))
    assert values_of(lane.kept.results) == [[1] * SAMPLES]


@pytest.mark.parametrize("payloads", [[b'{"v": 1}'] * 7, [b"bad", None, b'{"v": 1}'], [None]])
def test_a_batch_is_done_once_whatever_was_in_it(release: Path, payloads: list[bytes | None]) -> None:
    lane = Lane(release, JSON)
    done: list[bool] = []
    lane.pipeline.process(Batch([b"in/a"] * len(payloads), payloads, START_NS, 0, lambda: done.append(True)))
    assert done == [True]
    assert lane.counters.messages == len(payloads)
    assert lane.pipeline.busy_since == 0


def test_topics_that_are_not_ours_are_counted_and_the_others_are_not_touched(release: Path) -> None:
    lane = Lane(release, JSON)
    window = json.dumps({"v": [1] * SAMPLES})
    lane.put(("elsewhere", window), ("in/a", window), ("in/a/b", window), ("in/b", window))
    assert [each.key for each in lane.kept.results] == ["key=a", "key=b"]
    assert lane.counters.rejected == {"unknown-topic": 2}
    lane.put(("elsewhere", window), ("elsewhere", window))
    assert lane.counters.rejected == {"unknown-topic": 4}


def test_more_new_streams_in_one_batch_than_fit_take_turns_and_none_is_refused(release: Path) -> None:
    lane = Lane(release, JSON, max_streams=3)
    window = json.dumps({"v": [float(i) for i in range(SAMPLES)]})
    lane.put(*((f"in/{i}", '{"v": 1}') for i in range(20)), ("in/last", window))
    assert [each.key for each in lane.kept.results] == ["key=last"]
    assert lane.counters.rejected == {}
    assert lane.counters.dropped == {"stream-let-go": 18}


class Onlooker:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[Batch, Readings, list[Seen]]] = []

    def see(self, batch: Batch, readings: Readings, live: list[Seen]) -> None:
        self.seen.append((batch, readings, live))


def test_who_looks_on_sees_all_readings_and_what_the_model_said_of_them(release: Path) -> None:
    lane, onlooker = Lane(release, {**JSON, "labels": ["k"]}), Onlooker()
    lane.pipeline.shadow = onlooker
    lane.put(("in/a", json.dumps({"v": 1.0, "k": "x"})), ("in/b", "bad"))
    lane.put(("in/a", json.dumps({"v": [1.0] * (SAMPLES - 1), "k": "x"})))
    lane.put(("in/a", "bad"))
    lane.pipeline.shadow = None
    lane.put(("in/a", json.dumps({"v": [1.0] * SAMPLES, "k": "x"})))
    assert [len(readings.values) for _, readings, _ in onlooker.seen] == [1, SAMPLES - 1]
    assert onlooker.seen[0][2] == []
    [live] = onlooker.seen[1][2]
    kept = lane.kept.outgoing[0]
    assert (live.name, live.end_ns, live.output) == ((b"in/a", (("k", "x"),)), kept.end_ns, kept.result.output)


def test_windows_without_a_result_are_counted(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(release, JSON)
    lane.put(("in/a", json.dumps({"v": [3e38] * SAMPLES})), ("in/b", json.dumps({"v": [1] * SAMPLES})))
    assert (lane.counters.windows, lane.counters.failed_windows, lane.counters.results) == (2, 1, 1)
    monkeypatch.setattr(lane.pipeline.inference, "scores", lambda *_: 1 / 0)
    lane.pipeline.process(Batch([b"in/a"], [json.dumps({"v": [1] * SAMPLES}).encode()], START_NS, 0))
    assert (lane.counters.windows, lane.counters.failed_windows, lane.counters.results) == (4, 3, 1)
    assert lane.counters.infer.recent().count() == 2
