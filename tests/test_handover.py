"""From one run to the next: a stop anywhere between two batches changes no result and no count."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stream.carried import Carried, Identity, Restored, identity_of
from edged.stream.handover import dump, restore
from edged.stream.windows import WindowTable
from tests.lanes import START_NS, Lane
from tests.recordings import START_MS
from tests.releases import changed, twice

SAMPLES, PERIOD_MS = 4, 100
LABELS = '["a", "b", "c", "d"]'
TASKS = {
    "classify": f'[output]\nlabels = {LABELS}\nalarm = {{ label = "b", on = 4, off = 3, min_s = 0.3, quiet_s = 0.5 }}',
    "classify without alarm": f"[output]\nlabels = {LABELS}",
    "anomaly": '[output]\nthreshold = 3.0\nscore = "max"\nalarm = { on = 3.0, off = 2.0, quiet_s = 0.4 }',
    "anomaly without alarm": '[output]\nthreshold = 2.0\nscore = "mae"\nanomalous = "below"',
    "regress": "[output]",
}
JSON = {"type": "json", "channels": ["v"]}
DECODERS: dict[str, dict[str, Any]] = {
    "timed": {**JSON, "time": "t"},
    "untimed": JSON,
    "labelled": {**JSON, "time": "t", "labels": ["k"]},
    "packed": {"type": "packed", "layout": "<qf", "channels": ["v"], "time": "t"},
    "packed untimed": {"type": "packed", "layout": "<f", "channels": ["v"]},
}


def identity(lane: Lane) -> Identity:
    inference = lane.pipeline.inference
    return identity_of(lane.pipeline.options, inference.manifest, inference.values)


def dumped(lane: Lane) -> Carried:
    return dump(lane.pipeline.assembly, identity(lane))


def restored(lane: Lane, carried: Carried) -> Restored:
    return restore(lane.pipeline.assembly, carried, identity(lane))


def through_bytes(carried: Carried) -> Carried:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(carried), type=Carried)


# -- any stop, anywhere -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a run is made of."""

    hop: int
    gap: str
    task: str
    smooth: str
    decoder: str
    max_streams: int


def release_of(folder: Path, setting: Setting) -> Path:
    """Make the setting's release, always in the same place: scores are the window's readings, times two."""
    if not (folder / "plain").exists():
        changed(twice(folder / "plain", 1, SAMPLES, SAMPLES, 1000 / PERIOD_MS), folder / "release")
    smooth = setting.smooth if setting.task.startswith("classify") else setting.smooth.replace("vote", "mean")
    output = TASKS[setting.task] + (f'\nsmooth = {{ op = "{smooth}", windows = 3 }}' if smooth else "")
    text = (folder / "plain" / "model.toml").read_text()
    for old, new in (
        ('task = "regress"', f'task = "{setting.task.split()[0]}"'),
        (f"hop = {SAMPLES}", f"hop = {setting.hop}"),
        ('gap = "void"', f'gap = "{setting.gap}"'),
        ("[[variants]]", f"{output}\n[[variants]]"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "release" / "model.toml").write_text(text)
    return folder / "release"


def payload(decoder: str, stream: int, readings: list[tuple[float, int]]) -> bytes:
    """Write readings, (value, time in ms), as one message."""
    if decoder.startswith("packed"):
        return b"".join(struct.pack("<f", v) if "untimed" in decoder else struct.pack("<qf", t, v) for v, t in readings)
    return json.dumps([{"v": v, "t": t, "k": f"label {stream}"} for v, t in readings]).encode()


def runs(release: Path, setting: Setting, batches: list[list[tuple[str, bytes]]], stops: list[int]) -> tuple[list[Any], dict[str, Any]]:
    """Work batches off in runs that end at `stops`; give all results, without what measures time, and all counts."""
    results: list[Any] = []
    counts: Counter[str] = Counter()
    carried = None
    for first, last in pairwise([0, *stops, len(batches)]):
        lane = Lane(release, DECODERS[setting.decoder], max_streams=setting.max_streams)
        if carried is not None:
            assert restored(lane, carried) == Restored(carried.readings, {})
            assert unranked(dumped(lane)) == unranked(carried)
        for i, batch in enumerate(batches[first:last], first):
            lane.clock.set_wall(START_NS + i * PERIOD_MS * 1_000_000)
            lane.put(*batch)
        carried = through_bytes(dumped(lane))
        results += results_of(lane)
        c = lane.counters
        counts.update({**c.rejected, **c.dropped, "readings": c.readings, "windows": c.windows, "filled": c.filled})
        counts["let go"] += lane.pipeline.assembly.streams.evicted
    return results, counts


def results_of(lane: Lane) -> list[Any]:
    """Give all that results say but what measures time."""
    return [(msgspec.structs.replace(each.result, timing=None), each.end_ns, each.changed, each.alarm) for each in lane.kept.outgoing]


def unranked(carried: Carried) -> Carried:
    """Turns count anew in each run; only their order matters."""
    ranks = {turn: rank for rank, turn in enumerate(sorted({each.turn for each in carried.streams}))}
    return msgspec.structs.replace(carried, streams=[msgspec.structs.replace(each, turn=ranks[each.turn]) for each in carried.streams])


# Steps of event time in periods: onward mostly, duplicates, late ones, small and large gaps, a clock set back.
steps = st.sampled_from([1, 1, 1, 1, 1, 1, 1.4, 0, -1, 2, 3, 4.5, 20, -500])
values = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 0.1, -3.3, 3e38, -3e38])
readings_of = st.lists(st.tuples(values, steps), min_size=1, max_size=9)
messages_of = st.tuples(st.integers(0, 3), readings_of)
walks = st.lists(st.lists(messages_of, min_size=1, max_size=4), min_size=1, max_size=14)
all_settings = st.builds(
    Setting,
    st.sampled_from([1, 2, SAMPLES, SAMPLES + 3]),
    st.sampled_from(["void", "hold", "interpolate"]),
    st.sampled_from(sorted(TASKS)),
    st.sampled_from(["", "mean", "ewma", "vote"]),
    st.sampled_from(sorted(DECODERS)),
    st.sampled_from([2, 4096]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("releases")


@settings(deadline=None, max_examples=100)
@given(setting=all_settings, walk=walks, stops=st.sets(st.integers(0, 14), min_size=1, max_size=4))
def test_runs_with_stops_between_them_give_what_one_run_gives(
    folder: Path, setting: Setting, walk: list[list[tuple[int, list[tuple[float, float]]]]], stops: set[int]
) -> None:
    times = [START_MS] * 4
    batches = []
    for batch in walk:
        messages = []
        for stream, readings in batch:
            timed = []
            for value, step in readings:
                times[stream] += round(step * PERIOD_MS)
                timed.append((value, times[stream]))
            messages.append((f"in/{stream}", payload(setting.decoder, stream, timed)))
        batches.append(messages)
    release = release_of(folder, setting)
    with np.errstate(all="ignore"):  # as in a worker
        once = runs(release, setting, batches, [])
        assert runs(release, setting, batches, sorted(stop for stop in stops if stop <= len(batches))) == once


@pytest.mark.parametrize("smooth", ["", "mean", "ewma", "vote"])
@pytest.mark.parametrize("task", TASKS)
def test_a_stop_after_every_batch_of_a_long_run_changes_nothing(folder: Path, task: str, smooth: str) -> None:
    """Long enough for alarms to go on, off and be quiet, and for streams to take each other's slots."""
    setting = Setting(2, "hold", task, smooth, "timed", 3)
    random = np.random.default_rng(7)
    level, times = 1.0, [START_MS] * 5
    batches = []
    for i in range(80):
        level = float(random.choice([0.5, 1.5, 3.5])) if i % 8 == 0 else level
        batch = []
        for stream in random.choice([0, 0, 0, 1, 1, 2, 3, 4], random.integers(1, 3)).tolist():
            times[stream] += PERIOD_MS * int(random.choice([1, 1, 1, 1, 1, 1, 2, 30]))
            batch.append((f"in/{stream}", payload("timed", stream, [(level, times[stream] + k * PERIOD_MS) for k in range(3)])))
            times[stream] += 2 * PERIOD_MS
        batches.append(batch)
    release = release_of(folder, setting)
    results, counts = once = runs(release, setting, batches, [])
    assert runs(release, setting, batches, list(range(len(batches)))) == once
    assert len(results) > 40
    assert counts["let go"] > 5
    if setting.task in ("classify", "anomaly") and smooth != "vote":
        alarms = [alarm for *_, alarm in results]
        assert True in alarms
        assert False in alarms


# -- what they belong to ----------------------------------------------------------------------

TIMED = DECODERS["timed"]


def readings(count: int, first: int = 0, topic: str = "in/a") -> list[tuple[str, bytes]]:
    """Make readings in event time, one a message."""
    return [(topic, payload("timed", 0, [(float(i), START_MS + i * PERIOD_MS)])) for i in range(first, first + count)]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Give a release without overlap, gaps void."""
    return twice(tmp_path / "release", 1, SAMPLES, SAMPLES)


@pytest.fixture
def carried(release: Path) -> Carried:
    """Give what a run carries over after three readings of a window of four."""
    lane = Lane(release, TIMED)
    lane.put(*readings(3))
    return dumped(lane)


def test_readings_taken_over_complete_the_window(release: Path, carried: Carried) -> None:
    lane = Lane(release, TIMED)
    assert restored(lane, carried) == Restored(3, {})
    lane.put(*readings(1, 3))
    assert [each.output["values"] for each in lane.kept.results] == [[0, 2, 4, 6]]


@pytest.mark.parametrize(
    "change",
    [
        ('name = "twice"', 'name = "other"'),
        ("release = 1", "release = 2"),
        ("samples = 4", "samples = 4\nstateful = true"),
        ('gap = "void"', 'gap = "hold"'),
        ("[[variants]]", '[output]\nsmooth = { op = "mean", windows = 2 }\n[[variants]]'),
    ],
)
def test_another_release_or_one_that_was_edited_begins_anew(
    release: Path, tmp_path: Path, carried: Carried, change: tuple[str, str]
) -> None:
    lane = Lane(changed(release, tmp_path / "next", change), TIMED)
    assert restored(lane, carried) == Restored(0, {"release-changed": 3})
    lane.put(*readings(SAMPLES, 3))
    assert [each.output["values"] for each in lane.kept.results] == [[6, 8, 10, 12]]


@pytest.mark.parametrize(
    ("decoder", "topic"),
    [(TIMED, "in/{other}"), (JSON, "in/{key}"), ({**TIMED, "time_unit": "us"}, "in/{key}"), ({**TIMED, "channels": ["w"]}, "in/{key}")],
)
def test_another_source_or_decoder_begins_anew(release: Path, carried: Carried, decoder: dict[str, Any], topic: str) -> None:
    lane = Lane(release, decoder, topic)
    assert restored(lane, carried) == Restored(0, {"pipeline-changed": 3})
    assert lane.pipeline.assembly.streams.streams == []


def test_what_else_is_configured_takes_the_windows_over(release: Path, carried: Carried) -> None:
    lane = Lane(release, TIMED, deadline_ms=7.0, outputs=[{"type": "stdout"}], queue={"size": 5})
    assert restored(lane, carried) == Restored(3, {})


def test_another_variant_of_the_release_goes_on_with_windows_smoothing_and_alarm(tmp_path: Path) -> None:
    path = twice(tmp_path / "release", 1, SAMPLES, SAMPLES) / "model.toml"
    path.write_text(path.read_text().replace("[[v", '[output]\nsmooth = { op = "mean", windows = 2 }\n[[v'))
    before, after = Lane(path.parent, TIMED), Lane(changed(path.parent, tmp_path / "other", ('name = "fp32"', 'name = "int8"')), TIMED)
    before.put(*readings(5))
    assert restored(after, dumped(before)) == Restored(1, {})
    after.put(*readings(3, 5))
    assert after.kept.results[0].output["values"] == [4, 6, 8, 10]
    assert after.kept.results[0].model.variant == "int8"


def test_where_there_is_room_for_fewer_streams_those_heard_last_go_on(release: Path) -> None:
    before, after = Lane(release, TIMED), Lane(release, TIMED, max_streams=2)
    for stream in "abcda":
        before.put(*readings(2, 2 * (stream == "a" and before.counters.readings > 0), f"in/{stream}")[:2])
    carried = dumped(before)
    kept = restored(after, carried)
    assert [each.key for each in after.pipeline.assembly.streams.streams] == ["key=a", "key=d"]
    assert kept == Restored(2, {"stream-let-go": 4})
    assert carried.readings == 6  # the window of a is complete


def test_of_a_graph_with_state_windows_begin_anew_and_an_alarm_stays_on(tmp_path: Path) -> None:
    output = f'[output]\nlabels = {LABELS}\nsmooth = {{ op = "mean", windows = 3 }}\nalarm = {{ label = "d", on = 4, off = 1 }}'
    path = twice(tmp_path / "release", 1, SAMPLES, SAMPLES) / "model.toml"
    path.write_text(
        path.read_text()
        .replace("regress", "classify")
        .replace("samples = 4", "samples = 4\nstateful = true")
        .replace("[[v", f"{output}\n[[v")
    )
    before, after = Lane(path.parent, TIMED), Lane(path.parent, TIMED)
    before.put(*readings(6))
    assert before.kept.outgoing[0].alarm
    assert restored(after, dumped(before)) == Restored(0, {"graph-state": 2})
    after.put(*[("in/a", payload("timed", 0, [(1.0, START_MS + (6 + i) * PERIOD_MS)])) for i in range(SAMPLES)])
    assert [(each.alarm, each.result.output["score"]) for each in after.kept.outgoing] == [(True, 2.0)]


def test_whole_inputs_have_no_windows_but_smoothing_goes_on(tmp_path: Path) -> None:
    path = twice(tmp_path / "release", 1, 2) / "model.toml"
    path.write_text(path.read_text().replace("[[v", '[output]\nsmooth = { op = "mean", windows = 2 }\n[[v'))
    before, after = Lane(path.parent, JSON), Lane(path.parent, JSON)
    before.put(("in/a", '{"v": [1, 2]}'))
    assert restored(after, dumped(before)) == Restored(0, {})
    after.put(("in/a", '{"v": [3, 4]}'))
    assert [each.output["values"] for each in after.kept.results] == [[4.0, 6.0]]


# -- whatever was carried ---------------------------------------------------------------------

odd = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([0, 1, 2, 3, 4, 5, -1, 10**6, 10**6 + 1, 2**63 - 1, True, False, None, "b", "z", [], [None, None], 1.5, float("nan")]),
    st.binary(max_size=40),
    st.sampled_from([struct.pack("<f", each) for each in (float("nan"), float("inf"), 1.0)]),
    st.sampled_from([struct.pack("<d", each) * n for each in (float("nan"), float("-inf"), 1.0) for n in (1, 4, 5, 12, 16)]),
    st.sampled_from([struct.pack("<I", each) * n for each in (0, 3, 4, 2**32 - 1) for n in (1, 3, 4)]),
)


def floats(*numbers: float, form: str = "f") -> bytes:
    return struct.pack(f"<{len(numbers)}{form}", *numbers)


NAN = float("nan")
TAIL, MARK, MEMORY = 4, 5, 6


HELD = Setting(3, "hold", "classify", "mean", "timed", 4096)
FORGED = {
    "a topic that is not ours": (HELD, (0,), b"elsewhere/a"),
    "the name of another stream": (HELD, (0,), b"in/b"),
    "more readings needed than lack": (HELD, (TAIL, 0), 3),
    "more readings needed than a window has": (HELD, (TAIL,), [5, False, b"", b""]),
    "more readings needed than a hop has": (HELD, (TAIL,), [4, True, b"", b""]),
    "a reading too few": (HELD, (TAIL, 2), floats(1)),
    "a reading too many": (HELD, (TAIL, 2), floats(1, 1, 1)),
    "half a number": (HELD, (TAIL, 2), floats(1, 1)[:-1]),
    "a reading that is no number": (HELD, (TAIL, 2), floats(1, NAN)),
    "an infinite reading": (HELD, (TAIL, 2), floats(1, float("inf"))),
    "a time too few": (HELD, (TAIL, 3), floats(1, form="q")),
    "more readings in earlier windows than there are": (HELD, (TAIL,), [2, False, floats(1, 1), floats(1, 2, form="q"), 3]),
    "readings in earlier windows and a window of its own": (HELD, (TAIL, 4), 1),
    "more late readings than are waited for": (HELD, (MARK, 1), SAMPLES + 1),
    "a last reading of two channels": (HELD, (MARK, 2), floats(1, 1)),
    "a last reading that is no number": (HELD, (MARK, 2), floats(NAN)),
    "a last reading where no gap is filled": (Setting(3, "void", "classify", "", "timed", 4096), (MARK, 2), floats(1)),
    "a row and a quarter": (HELD, (MEMORY, 0), floats(*[1] * 5, form="d")),
    "more rows than a mean takes": (HELD, (MEMORY, 0), floats(*[1] * 16, form="d")),
    "a score that is no number": (HELD, (MEMORY, 0), floats(1, 1, 1, NAN, form="d")),
    "rows without smoothing": (Setting(3, "hold", "classify", "", "timed", 4096), (MEMORY, 0), floats(1, 1, 1, 1, form="d")),
    "two levels": (Setting(3, "hold", "classify", "ewma", "timed", 4096), (MEMORY, 0), floats(*[1] * 8, form="d")),
    "a vote for no label": (Setting(3, "hold", "classify", "vote", "timed", 4096), (MEMORY, 0), floats(4, form="I")),
    "more votes than are counted": (Setting(3, "hold", "classify", "vote", "timed", 4096), (MEMORY, 0), floats(0, 1, 2, 3, form="I")),
    "no alarm where there is one": (HELD, (MEMORY, 1), None),
    "an alarm where there is none": (Setting(3, "hold", "regress", "", "timed", 4096), (MEMORY, 1), [True, None, None]),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_stream_that_the_pipeline_cannot_have_begins_all_of_it_anew(folder: Path, forgery: str) -> None:
    setting, place, forged = FORGED[forgery]
    release = release_of(folder, setting)
    before, after, new = (Lane(release, DECODERS[setting.decoder]) for _ in range(3))
    for topic in ("in/b", "in/a", "in/c"):
        before.put(*readings(5, 0, topic))
    carried = dumped(before)
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(carried))
    got = restored(after, msgspec.convert(replaced(plain, (2, 1, *place), forged), Carried))
    assert got == Restored(0, {"carry-damaged": carried.readings})
    for lane in (after, new):
        for topic in ("in/c", "in/b", "in/a"):
            lane.put(*readings(8, 5, topic))
    assert results_of(after) == results_of(new)
    assert (after.counters.dropped, unranked(dumped(after))) == (new.counters.dropped, unranked(dumped(new)))


def leaves(value: Any, place: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if isinstance(value, list):
        for i, each in enumerate(value):
            yield from leaves(each, (*place, i))
    yield place


def replaced(value: Any, place: tuple[int, ...], new: Any) -> Any:
    if not place:
        return new
    return [replaced(each, place[1:], new) if i == place[0] else each for i, each in enumerate(value)]


@settings(deadline=None, max_examples=200)
@given(setting=all_settings, data=st.data())
def test_anything_that_reads_as_carried_is_taken_or_refused_and_the_pipeline_works(
    folder: Path, setting: Setting, data: st.DataObject
) -> None:
    release = release_of(folder, setting)
    before, after = (Lane(release, DECODERS[setting.decoder], max_streams=setting.max_streams) for _ in range(2))
    whole = [(f"in/{i}", payload(setting.decoder, i, [(float(k), START_MS + k * PERIOD_MS) for k in range(6)])) for i in range(2)]
    before.put(*whole)
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(dumped(before)))
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from([each for each in leaves(plain[2]) if len(each) > 1] or [(0,)]))
        plain[2] = replaced(plain[2], where, data.draw(odd))
    try:
        forged = msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=Carried)
    except msgspec.ValidationError:
        return  # refused with the file
    got = restored(after, forged)
    if got.dropped == {"carry-damaged": forged.readings}:
        assert after.pipeline.assembly.streams.streams == []
    else:
        assert set(got.dropped) <= {"stream-let-go"}
    with np.errstate(all="ignore"):
        after.put(*[(f"in/{i}", payload(setting.decoder, i, [(1.0, START_MS + k * PERIOD_MS) for k in range(6, 60)])) for i in range(3)])
    assert after.counters.dropped.keys() <= {"gap", "stream-let-go", "model-nan"}
    assert dumped(after).readings >= 0


def test_readings_can_be_counted_by_another_thread_while_the_table_grows() -> None:
    table = WindowTable(4, 4, 1)
    table.reset(0)
    table.push_run(0, np.zeros((3, 1), np.float32), np.zeros(3, np.int64))
    need = table._need
    table.reset(20)
    table._need = need  # as the other thread sees it in the middle of it
    assert table.all_unfinished() == 3


def test_a_line_over_a_gap_between_the_largest_readings_is_drawn(tmp_path: Path) -> None:
    lane = Lane(twice(tmp_path / "release", 1, SAMPLES, SAMPLES, gap="interpolate"), TIMED)
    largest = float(np.finfo(np.float32).max)
    lane.put(*[("in/a", payload("timed", 0, [(value, START_MS + at * PERIOD_MS)])) for value, at in ((-largest, 0), (largest, 2))])
    stream = dumped(lane).streams[0]
    np.testing.assert_allclose(np.frombuffer(stream.tail.values, "<f4"), [-largest, 0, largest])
