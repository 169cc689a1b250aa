"""The choice in a daemon that runs for months: what a bad moment may not spoil, and what one pipeline may not do to the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edged.board.inforce import board_here, board_of
from edged.board.sensors import Felt
from edged.clock import NS
from edged.config import schema
from edged.errors import BoardError, DoesNotFit
from edged.models.manifest import Release, load_release
from edged.select import adapt
from edged.select.adapt import Adaptation, Observed, Seen, Step
from edged.select.costing import sha256_of
from edged.select.demand import Wanted, demands
from edged.select.measured import Measured, Measurements
from edged.select.terms import Demand, Limits
from edged.service.adapting import Adapting
from edged.service.control_path import ControlPath
from edged.service.parts import Lane
from edged.service.ports import DaemonPorts
from edged.service.selection import Selection
from edged.service.serving import Serving
from tests.adapting import THERMAL, demand, option
from tests.conftest import REPO
from tests.releases import changed
from tests.test_updates_review import Lanes, never
from tests.waiting import until

AD01 = REPO / "tests" / "data" / "ad01"
PI = REPO / "tests" / "data" / "boards" / "raspberry-pi-4b-1gb"
WIDE = Limits(memory_mib=1000, workers=3)
MINUTE, HOUR = 60, 3600


# -- the adaptation, alone ----------------------------------------------------------------------------------------------------------


class Looks:
    """Adaptation of some pipelines, look by look; steps are made at once unless `fails` says otherwise."""

    def __init__(self, found: list[Demand], running: dict[str, str], limits: Limits = WIDE) -> None:
        self.adaptation, self.demands, self.running, self.limits = Adaptation(THERMAL, 512), found, dict(running), limits
        self.second, self.steps = 0, list[Step]()
        self.seen: dict[str, Seen] = {}
        self.board: Callable[[], dict[str, Any]] = dict
        self.fails: set[tuple[str, str]] = set()

    def run(self, seconds: int) -> Looks:
        for _ in range(seconds // adapt.LOOK_S):
            self.second += adapt.LOOK_S
            pipelines = {each.pipeline: self.seen.get(each.pipeline, Seen(windows_per_s=each.windows_per_s)) for each in self.demands}
            given = {"available_mib": 5000.0, **self.board()}
            step = self.adaptation.look(
                Observed(mono_ns=self.second * NS, pipelines=pipelines, **given), self.demands, self.limits, self.running
            )
            if step is not None:
                self.steps.append(step)
                failed = {name for name, variant in step.variants.items() if (name, variant) in self.fails}
                self.running |= {name: variant for name, variant in step.variants.items() if name not in failed}
                self.adaptation.after(step, self.second * NS, failed)
        return self


def test_a_pipeline_that_can_never_keep_its_deadline_does_not_keep_the_others_from_coming_back_up() -> None:
    hopeless = demand("hopeless", 5, option("only", 0.9, 30, 50), deadline_ms=1.0)
    pump = demand("pump", 5, option("float", 0.95, 5, 300), option("int8", 0.93, 2, 100))
    looks = Looks([hopeless, pump], {"hopeless": "only", "pump": "float"}).run(2 * MINUTE)
    assert looks.steps == []
    assert "deadline-misses" in looks.adaptation.stuck
    looks.limits = Limits(memory_mib=200, workers=3)
    assert looks.run(2 * MINUTE).running["pump"] == "int8"
    looks.limits = WIDE
    assert looks.run(10 * MINUTE).running["pump"] == "float"
    assert [step.cause for step in looks.steps] == ["memory-pressure", "relief"]
    assert "deadline-misses" in looks.adaptation.stuck


def test_a_faster_variant_that_is_too_large_is_not_taken_back_and_forth_with_a_smaller_one_that_is_too_slow() -> None:
    found = [demand("p", 5, option("large", 0.95, 10, 300), option("small", 0.9, 20, 50), deadline_ms=5)]
    looks = Looks(found, {"p": "large"}, Limits(memory_mib=100, workers=3)).run(HOUR)
    assert [step.variants for step in looks.steps] == [{"p": "small"}]


def test_a_step_that_one_pipeline_could_not_make_is_not_held_against_those_that_did() -> None:
    found = [demand(name, 5, option("large", 0.95, 5, 300), option("small", 0.9, 2, 50)) for name in ("a", "b")]
    looks = Looks(found, {"a": "large", "b": "large"}, Limits(memory_mib=100, workers=3))
    looks.fails = {("b", "small")}
    looks.run(HOUR)
    assert looks.running == {"a": "small", "b": "large"}
    assert looks.steps[0].variants == {"a": "small", "b": "small"}
    assert all(step.variants == {"b": "small"} for step in looks.steps[1:]), "a stays as it is, whatever b cannot"


def test_a_way_up_does_not_take_the_place_of_a_pipeline_whose_variant_could_not_be_chosen_again() -> None:
    odd = demand("odd", 5, replace(option("only", 0.9, 2, 600), refused="load: it did not at the start"))
    pump = demand("pump", 5, option("float", 0.95, 5, 600), option("int8", 0.93, 2, 100))
    assert Looks([odd, pump], {"odd": "only", "pump": "int8"}).run(HOUR).steps == []


def test_a_thermometer_that_is_silent_for_a_moment_is_neither_cold_nor_a_reason_for_another_step_down() -> None:
    variants = [option(name, quality, ms, 10) for name, quality, ms in (("a", 0.99, 100), ("b", 0.95, 60), ("c", 0.9, 30), ("d", 0.8, 10))]
    looks = Looks([demand("p", 5, *variants, deadline_ms=500)], {"p": "a"})
    warm: dict[str, dict[str, float | None]] = {"a": {"temperature_c": 78.0}, "b": {"temperature_c": 78.0}}

    def board() -> dict[str, Any]:
        return {"temperature_c": None} if looks.second % 20 == 0 else warm.get(looks.running["p"], {"temperature_c": 72.0})

    looks.board = board
    looks.run(10 * MINUTE)
    settled = looks.running["p"]
    looks.run(2 * HOUR)
    assert (settled, looks.running["p"]) == ("c", "c")
    assert [step.cause for step in looks.steps] == ["heat", "heat"]


def test_a_backlog_at_the_start_is_not_held_against_the_variant() -> None:
    found = [demand("p", 5, option("a", 0.95, 12, 300), option("b", 0.9, 4, 90), deadline_ms=50)]
    looks = Looks(found, {"p": "a"})
    looks.seen["p"] = Seen(windows_per_s=5, late=0.9, p95_ms=9000.0, waiting=500)
    looks.run(25)
    del looks.seen["p"]
    assert looks.run(HOUR).steps == []


# -- what was measured --------------------------------------------------------------------------------------------------------------


def ad01(name: str = "car", deadline_ms: float = 100.0, **more: Any) -> tuple[schema.Pipeline, Release]:
    decoder = schema.JsonDecoder(channels=[f"m{i:03}" for i in range(128)])
    return schema.Pipeline(
        name=name, source=schema.StdinSource(), decoder=decoder, deadline_ms=deadline_ms, model="ad01", **more
    ), load_release(AD01)


def known(tmp_path: Path, measured: Measured, at: int = 1) -> tuple[Measurements, str]:
    from edged.engines.choose import available

    kept = Measurements(tmp_path)
    sha256 = sha256_of(load_release(AD01), "fp32")
    assert sha256 is not None
    kept.note(sha256, str(available()[0]), board_here().key, measured, at)
    return kept, sha256


def fp32_of(kept: Measurements) -> Any:
    options, release = ad01()
    [found] = demands([Wanted(options, release, {})], board_here(), kept)
    return next(each for each in found.options if each.variant == "fp32")


def test_the_outliers_of_a_few_windows_are_not_held_against_the_deadline(tmp_path: Path) -> None:
    kept, _ = known(tmp_path, Measured(p50_ms=1.0, p95_ms=400.0, windows=25))
    few = fp32_of(kept)
    assert (few.measured, few.ms, few.worst_ms) == (True, 1.0, 1.0)
    kept, _ = known(tmp_path, Measured(p50_ms=1.0, p95_ms=400.0, windows=500))
    assert fp32_of(kept).worst_ms == 400.0


def test_peaks_of_a_variant_that_has_not_run_for_a_day_are_forgotten_and_what_it_usually_takes_is_not(tmp_path: Path) -> None:
    kept, _ = known(tmp_path, Measured(p50_ms=1.0, p95_ms=400.0, windows=500, mib=3.0), at=5 * NS)
    kept.forget_peaks(5 * NS)
    assert fp32_of(kept).worst_ms == 400.0
    kept.forget_peaks(6 * NS)
    kept.save()
    option_ = fp32_of(Measurements(tmp_path))
    assert (option_.ms, option_.worst_ms, option_.mib) == (1.0, 1.0, 3.0)


@pytest.mark.parametrize("ms", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_number_that_could_not_be_read_again_does_not_spoil_the_whole_file(tmp_path: Path, ms: float) -> None:
    kept, _ = known(tmp_path, Measured(p50_ms=1.0, p95_ms=2.0, windows=500))
    kept.note("b" * 64, "litert", "pi", Measured(p50_ms=ms, p95_ms=ms, windows=500), 2)
    kept.note("c" * 64, "x" * 500, "pi", Measured(p50_ms=1.0, p95_ms=1.0, windows=500), 2)
    kept.save()
    assert fp32_of(Measurements(tmp_path)).measured


def test_a_graph_with_state_counts_the_engine_without_a_stream_and_what_a_trial_measured_once(tmp_path: Path) -> None:
    folder = changed(AD01, tmp_path / "r", ("[input]", "[input]\nstateful = true"))
    release = load_release(folder)
    options, _ = ad01()
    kept, _ = known(tmp_path, Measured(p50_ms=1.0, p95_ms=1.0, windows=500, mib=4.0))  # a trial opens two engines, as for one stream

    def mib(streams: int, lookup: Measurements | None) -> float:
        from edged.select.demand import costs_of_release

        [found] = demands([Wanted(options, release, costs_of_release(release), streams=streams)], board_here(), lookup)
        return next(each.mib for each in found.options if each.variant == "fp32")

    assert (mib(1, kept), mib(3, kept)) == (4.0, 8.0)
    assert mib(3, None) == pytest.approx(2 * mib(1, None))


# -- the selection of a daemon ------------------------------------------------------------------------------------------------------


def board_in(tmp_path: Path, available_mib: int | None = None) -> Path:
    root = tmp_path / "board"
    if not root.exists():
        shutil.copytree(PI, root)
    if available_mib is not None:
        path = root / "proc" / "meminfo"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("MemAvailable")]
        path.write_text("\n".join([*lines, f"MemAvailable: {available_mib << 10} kB"]) + "\n")
    return root


def selection_in(tmp_path: Path, available_mib: int | None = None, budget_mib: int = 0) -> Selection:
    root = board_in(tmp_path, available_mib)
    return Selection(board_here(root), budget_mib, Measurements(tmp_path), root)


def lane_of(options: schema.Pipeline, release: Release) -> Lane:
    return Lane(options, SimpleNamespace(), release=release)  # type: ignore[arg-type]


def test_a_start_under_memory_pressure_loads_what_fits_now_and_not_what_would_fit_in_an_empty_board(tmp_path: Path) -> None:
    options, release = ad01()
    for available_mib, wanted in ((700, "fp32"), (0, None)):
        selection = selection_in(tmp_path, available_mib)
        selection.bind([lane_of(options, release)], {})
        first = next(iter(selection.order(options, release)))
        if wanted is None:
            smallest = min(selection.options(options, release), key=lambda each: each.mib)
            assert first == smallest.variant, "it starts, with the least"
        else:
            assert first == wanted


def test_two_pipelines_of_a_model_get_a_candidate_only_in_a_variant_that_both_have_room_for(tmp_path: Path) -> None:
    (one, release), (two, _) = ad01("one"), ad01("two")
    selection = selection_in(tmp_path)
    mib = {each.variant: each.mib for each in selection.options(one, release)}
    large, small = max(mib.values()), min(mib.values())
    selection.limits = replace(selection.limits, memory_mib=large + small)
    tried = [each.variant for each in selection.fitting([(one, release, None), (two, release, None)])]
    assert tried
    assert all(2 * mib[variant] <= large + small for variant in tried)
    selection.limits = replace(selection.limits, memory_mib=1.5 * small)
    with pytest.raises(DoesNotFit):
        selection.fitting([(one, release, None), (two, release, None)])


def test_a_candidate_that_is_predicted_too_slow_is_refused_with_the_way_to_a_better_prediction(tmp_path: Path) -> None:
    options, release = ad01()
    selection = selection_in(tmp_path)
    late = msgspec.structs.replace(options, deadline_ms=1e-6)
    with pytest.raises(DoesNotFit) as caught:
        selection.fitting([(late, release, None)])
    assert "deadline: " in caught.value.text
    assert "`edged board calibrate`" in caught.value.hint


def test_a_variant_that_was_thought_too_slow_is_no_longer_called_so_when_it_was_measured(tmp_path: Path) -> None:
    options, release = ad01(deadline_ms=0.0001)
    selection = selection_in(tmp_path)
    pipeline: Any = SimpleNamespace(
        fault=None,
        inference=SimpleNamespace(model=SimpleNamespace(variant="fp32")),
        assembly=SimpleNamespace(streams=SimpleNamespace(streams=[1])),
    )
    lane = replace(lane_of(options, release), pipeline=pipeline)
    selection.bind([lane], {})
    selection.look()
    assert "deadline: " in selection.late["car"]
    lane.options = msgspec.structs.replace(options, deadline_ms=1000.0)
    selection.look()
    assert selection.late == {}


# -- pipelines in this process ------------------------------------------------------------------------------------------------------


@pytest.fixture
def lanes(tmp_path: Path) -> Any:
    made = Lanes(tmp_path, 2)
    yield made
    made.close()


class Quiet:
    """Sensors of a board at ease, or as a test says."""

    def __init__(self, **felt: Any) -> None:
        self.felt = felt

    def read(self) -> Felt:
        silent: dict[str, Any] = dict.fromkeys(("available_mib", "temperature_c", "throttled", "clock_ratio", "stalled_pct"))
        return Felt(**(silent | self.felt))


def adapting_of(lanes: Lanes, tmp_path: Path, sensors: Quiet) -> Adapting:
    selection = Selection(board_of("raspberry-pi-4b-1gb"), 0, Measurements(tmp_path))
    selection.bind(lanes.parts.lanes, {})
    lanes.parts.selection = selection
    return Adapting(lanes.parts, lanes.serving, selection, sensors)  # type: ignore[arg-type]


def test_a_rollback_is_made_where_the_choice_would_have_it_no_longer(lanes: Lanes) -> None:
    def refuse(*_: object) -> Any:
        raise DoesNotFit("does-not-fit", "no variant fits here", "")
        yield ""

    assert lanes.parts.around is not None
    lanes.parts.around.order = refuse
    lanes.serving.serve("twice", lanes.releases[2], 0.0, never)
    assert [lane.release.manifest.release for lane in lanes.parts.lanes if lane.release] == [2, 2]


def test_the_memory_budget_is_that_of_models_and_not_of_the_daemon(lanes: Lanes, tmp_path: Path) -> None:
    adapting_of(lanes, tmp_path, Quiet())
    serving = Serving(lanes.parts, budget_mib=40)  # less than Python alone takes
    assert serving.serve("twice", lanes.releases[2], 1.0, never)["beside"]
    assert not Serving(lanes.parts, budget_mib=1).serve("twice", lanes.releases[1], 1.0, never)["beside"]


def test_a_pipeline_that_lost_its_model_in_a_change_of_variant_gets_it_back(lanes: Lanes, tmp_path: Path) -> None:
    adapting = adapting_of(lanes, tmp_path, Quiet())
    lane = lanes.parts.lanes[0]
    assert lane.pipeline is not None

    def broken(_: Path) -> None:
        raise BoardError("memory-short", "there is no memory for it")

    lanes.opened = broken
    change = (
        lane.pipeline.swap_over_gap(lambda: lanes.parts.around.load(*pair), lambda: lanes.parts.around.load(*pair))
        if (lanes.parts.around and (pair := (lane.options, lane.release)) and lane.release)
        else None
    )  # type: ignore[arg-type]
    assert change is not None
    until(lambda: change.over or None, "the change is over")
    assert lane.pipeline.fault is not None
    adapting.step(set(), never)
    assert lane.pipeline.fault is not None
    lanes.opened = lambda _: None
    lanes.clock.advance(MINUTE * NS)
    adapting.step(set(), never)
    assert lane.pipeline.fault is None
    lanes.put(3)
    lanes.worked_off(3)


def test_windows_are_measured_while_a_pipeline_is_late_and_not_while_the_board_is_slowed_down(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensors = Quiet(throttled=0xE000E, clock_ratio=0.5)
    adapting = adapting_of(lanes, tmp_path, sensors)
    noted: list[str] = []
    monkeypatch.setattr(Selection, "note", lambda _self, _release, variant, *_: noted.append(variant))

    def look() -> None:
        for lane in lanes.parts.lanes:
            assert lane.pipeline is not None
            lane.pipeline.counters.infer.record_many(1.0, 50)
        lanes.clock.advance(adapt.LOOK_S * NS)
        adapting.step(set(), never)

    for _ in range(20):
        look()
    assert noted == []
    sensors.felt = {"throttled": 0, "clock_ratio": 1.0}
    look()
    assert noted == [], "what it took while it was slow is still among the windows"
    for _ in range(40):
        look()
    assert noted
    noted.clear()
    monkeypatch.setattr("edged.service.adapting.Adapting._seen", lambda *_: Seen(windows_per_s=1.0, late=1.0, p95_ms=900.0))
    for _ in range(10):
        look()
    assert noted


def test_a_bug_while_a_step_is_made_is_told_and_does_not_end_the_adaptation(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapting = adapting_of(lanes, tmp_path, Quiet())
    step = Step({"lane0": "only"}, "heat", "")
    monkeypatch.setattr(lanes.serving, "vary", lambda *_: 1 / 0)
    told: list[set[str]] = []
    monkeypatch.setattr(Adaptation, "look", lambda *_: step)
    monkeypatch.setattr(Adaptation, "after", lambda _self, _step, _now, failed: told.append(set(failed)))
    adapting.step(set(), never)
    assert told == [{"lane0"}]
    assert adapting.varied[0].error is not None
    assert adapting.varied[0].error.code == "adapting-bug"


def test_a_bug_in_the_adaptation_holds_no_update_up_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ControlPath.__new__(ControlPath)
    steps: list[int] = []
    jobs = [SimpleNamespace(model="waits", state="wait"), SimpleNamespace(model="watched", state="confirm")]
    updates = SimpleNamespace(step=lambda: steps.append(1) or 0.5, jobs=lambda: jobs)
    path.agent, path._ending = SimpleNamespace(updates=updates), False  # type: ignore[assignment]
    path.pushes = path.commands = None
    left_alone: list[set[str]] = []

    def bug(updating: set[str], _cancelled: object) -> None:
        left_alone.append(updating)
        raise KeyError("x")

    path.adapting = SimpleNamespace(step=bug)  # type: ignore[assignment]
    assert path._step() == 0.5
    assert path._adapting_bug is not None
    assert path._adapting_bug.code == "adapting-bug"
    assert left_alone == [{"watched"}], "an update that waits does not keep its pipelines from following the board"


def test_the_board_is_looked_at_while_a_candidate_waits_for_readings_and_what_was_tried_is_what_is_shadowed(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    ports = DaemonPorts(SimpleNamespace(), lanes.clock, SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    ports.bind(lanes.serving, lambda: looked.append("look"))
    monkeypatch.setattr(ports, "_tried", lambda _: ("fp32", 0.0))
    opened: list[list[str]] = []

    def wait(_lane: object, _windows: object, load: Callable[[], Any], _clock: object, _progress: object, ends: Callable[[], bool]) -> Any:
        load().close()
        assert not ends()
        return {}

    def order(*_: object) -> list[str]:
        opened.append(["chosen"])
        return []

    assert lanes.parts.around is not None
    lanes.parts.around.order = order
    monkeypatch.setattr("edged.service.serving.run_shadow", wait)
    ports.shadow(lanes.releases[2], 5, lambda _: None, never)
    assert looked == ["look"]
    assert opened == [["chosen"]], "it was asked for, and what was tried came first"
