"""The choice is made anew under pressure, and taken back when there has been room for long: one behaviour a test."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edged.clock import NS
from edged.errors import BugError
from edged.select import adapt
from edged.select.adapt import Adaptation, Observed, Seen, Step
from edged.select.pressure import Smoothed
from edged.select.terms import Demand, Limits
from tests.adapting import BEST, DEMANDS, LIMITS, RESERVE_MIB, THERMAL, Board, demand, option


def test_memory_pressure_brings_smaller_variants_within_thirty_seconds_and_names_its_cause() -> None:
    board = Board()
    board.run(600)
    assert board.steps == []
    others = 500.0
    board.others_mib = lambda _s: others
    took = board.run_until(lambda: board.running != BEST, 60)
    assert took <= 30
    assert board.causes == ["memory-pressure"]
    assert board.available_mib() >= 128
    assert "MiB are available" in board.steps[0][1].text


def test_relief_brings_the_larger_variants_back_after_the_dwell_and_not_before() -> None:
    board = Board()
    board.others_mib = lambda s: 500.0 if s < 900 else 0.0
    board.run(900)
    assert board.running != BEST
    took = board.run_until(lambda: board.running == BEST, 600)
    assert adapt.DWELL_S <= took <= adapt.DWELL_S + 90
    assert board.causes == ["memory-pressure", "relief"]


def test_memory_that_is_nearly_out_is_not_waited_for() -> None:
    board = Board()
    board.run(60)
    board.others_mib = lambda _s: 480.0
    board.run(5)
    assert board.causes == ["memory-pressure"]


def test_a_short_dip_of_memory_changes_nothing() -> None:
    board = Board()
    board.others_mib = lambda s: 380.0 if s == 300 else 0.0
    board.run(900)
    assert board.steps == []


def test_heat_brings_less_load_before_the_board_slows_down_for_long_and_cool_air_brings_it_back() -> None:
    board = Board(ambient_c=lambda s: 45.0 if s < 7200 else 15.0, rate_by=lambda _s: 1.3)
    board.run(7200)
    assert set(board.causes) <= {"heat", "throttled"}
    assert board.temperature < 80
    board.run(7200)
    assert board.causes[-1] == "relief"
    assert board.running == BEST


def test_a_slow_clock_that_breaks_a_deadline_moves_that_pipeline_down() -> None:
    demands = [demand("pump", 5, option("float", 0.95, 12, 300), option("int8", 0.93, 4, 90), deadline_ms=20)]
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    step = looks(adaptation, demands, {"pump": "float"}, 60, temperature_c=70.0, throttled=0x20002, clock_ratio=0.6)
    assert step == Step({"pump": "int8"}, "throttled", step.text if step else "")


def test_the_low_clock_of_a_board_with_little_to_do_is_no_pressure() -> None:
    demands = [demand("pump", 5, option("float", 0.95, 12, 300), option("int8", 0.93, 4, 90), deadline_ms=20)]
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    assert looks(adaptation, demands, {"pump": "float"}, 600, temperature_c=45.0, throttled=0, clock_ratio=0.4) is None


def test_under_voltage_and_what_has_happened_since_the_boot_are_no_pressure() -> None:
    demands = [demand("pump", 5, option("float", 0.95, 12, 300), option("int8", 0.93, 4, 90), deadline_ms=20)]
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    assert looks(adaptation, demands, {"pump": "float"}, 600, temperature_c=60.0, throttled=0xF0001, clock_ratio=1.0) is None


def test_a_rate_that_rises_moves_the_choice_down_once_and_not_back_and_forth() -> None:
    board = Board(rate_by=lambda s: 1.0 if s < 600 else 3.0, noise=0.05, seed=3)
    board.run(4 * 3600)
    assert board.causes == ["rate-rose"]


def test_results_that_are_late_bring_a_faster_variant() -> None:
    demands = [demand("pump", 5, option("float", 0.95, 12, 300), option("int8", 0.93, 4, 90), deadline_ms=50)]
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    seen = Seen(windows_per_s=5, late=0.3, p95_ms=70.0)
    step = looks(adaptation, demands, {"pump": "float"}, 60, seen=seen)
    assert step is not None
    assert (step.cause, step.variants) == ("deadline-misses", {"pump": "int8"})


def test_results_that_still_come_late_from_what_waited_before_a_change_are_not_held_against_the_new_variant() -> None:
    demands = [demand("p", 5, option("a", 0.95, 12, 300), option("b", 0.93, 4, 90), option("c", 0.9, 2, 20), deadline_ms=50)]
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    late = Seen(windows_per_s=5, late=0.3, p95_ms=70.0)
    step = looks(adaptation, demands, {"p": "a"}, 60, seen=late)
    assert step is not None
    adaptation.after(step, 20 * NS)
    assert looks(adaptation, demands, {"p": "b"}, 25, start=20, seen=late) is None
    assert looks(adaptation, demands, {"p": "b"}, 900, start=45, seen=Seen(windows_per_s=5, late=0.0, p95_ms=70.0)) is not None


def test_a_way_up_that_is_taken_back_waits_twice_as_long_each_time_up_to_six_hours() -> None:
    board = Board()
    # Another program takes its memory whenever there is some: each way up is wrong.
    board.others_mib = lambda s: 500.0 if s < 60 or board.running == BEST else 0.0
    board.run(24 * 3600)
    ups = [second for second, step in board.steps if step.cause == "relief"]
    waits = [later - earlier for earlier, later in pairwise(ups)]
    assert len(board.steps) <= 20
    assert all(later >= 1.8 * earlier for earlier, later in pairwise(waits) if later < 5 * 3600)
    assert max(waits) <= adapt.LONGEST_DWELL_S + 120


def test_a_way_up_that_lasted_an_hour_is_trusted_again() -> None:
    board = Board()
    board.others_mib = lambda s: 500.0 if s % 14_400 < 600 else 0.0
    board.run(3 * 14_400)
    ups = [second % 14_400 for second, step in board.steps if step.cause == "relief"]
    assert len(ups) == 3
    assert max(ups) <= 600 + adapt.DWELL_S + 90


def test_what_is_needed_as_a_whole_is_done_though_no_single_pipeline_gains() -> None:
    two = [demand(name, 5, option("float", 0.95, 5, 300), option("int8", 0.93, 2, 100)) for name in ("a", "b")]
    adaptation = Adaptation(THERMAL, 512)
    running = {"a": "float", "b": "float"}
    # 150 of 600 MiB are missing: either of them could stay as it is, both together cannot.
    step = looks(adaptation, two, running, 60, limits=Limits(memory_mib=450, workers=3))
    assert step is not None
    assert list(step.variants.values()) == ["int8"]


def test_under_memory_pressure_no_pipeline_gets_a_larger_variant() -> None:
    demands = [
        demand("a", 5, option("large", 0.95, 5, 300), option("small", 0.9, 2, 50)),
        demand("b", 5, option("large", 0.99, 5, 180), option("small", 0.5, 2, 100)),
    ]
    step = looks(Adaptation(THERMAL, 512), demands, {"a": "large", "b": "small"}, 60, limits=Limits(memory_mib=350, workers=3))
    assert step is not None
    assert step.variants == {"a": "small"}


def test_where_nothing_smaller_is_left_nothing_is_switched_off_and_it_is_said() -> None:
    board = Board()
    board.others_mib = lambda _s: 1100.0
    board.run(600)
    assert board.running == {"pump": "tiny", "vib": "int8", "sound": "small"}
    board.others_mib = lambda _s: 1250.0
    count = len(board.steps)
    board.run(600)
    assert len(board.steps) == count
    assert board.adaptation.stuck.startswith("memory-pressure: ")
    assert "no smaller variant" in board.adaptation.stuck
    board.others_mib = lambda _s: 0.0
    board.run(30)
    assert board.adaptation.stuck == ""


def test_heat_that_is_not_from_models_changes_nothing_and_is_said() -> None:
    demands = [demand("pump", 1, option("float", 0.95, 2, 30), option("int8", 0.93, 1, 9))]
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    assert looks(adaptation, demands, {"pump": "float"}, 600, temperature_c=79.0, clock_ratio=1.0) is None
    assert adaptation.stuck.startswith("heat: 79")


def test_a_variant_that_does_not_load_is_left_alone_and_the_next_one_taken() -> None:
    adaptation = Adaptation(THERMAL, 512)
    three = [demand("p", 5, option("a", 0.95, 9, 300), option("b", 0.93, 4, 90), option("c", 0.9, 2, 20))]
    narrow = Limits(memory_mib=200, workers=3)
    step = looks(adaptation, three, {"p": "a"}, 60, limits=narrow)
    assert step is not None
    assert step.variants == {"p": "b"}
    adaptation.after(step, 20 * NS, ["p"])
    step = looks(adaptation, three, {"p": "a"}, 60, start=20, limits=narrow)
    assert step is not None
    assert step.variants == {"p": "c"}


def test_no_step_is_given_while_one_is_under_way() -> None:
    adaptation = Adaptation(THERMAL, 512)
    narrow = Limits(memory_mib=500, workers=3)
    assert looks(adaptation, DEMANDS, BEST, 60, limits=narrow) is not None
    assert looks(adaptation, DEMANDS, BEST, 600, start=60, limits=narrow, available_mib=5.0) is None


def test_a_board_that_says_nothing_of_itself_is_under_no_pressure() -> None:
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    assert looks(adaptation, DEMANDS, BEST, 600, available_mib=None) is None
    assert adaptation.state == adapt.STEADY


def test_a_pipeline_that_runs_none_of_its_options_is_left_alone() -> None:
    adaptation = Adaptation(THERMAL, RESERVE_MIB)
    assert looks(adaptation, DEMANDS, {"pump": "of-another-release"}, 600) is None


def test_equal_quality_is_no_reason_to_change_what_runs_well() -> None:
    demands = [demand("p", 5, option("a", 0.9, 9, 300), option("b", 0.9, 4, 90))]
    assert looks(Adaptation(THERMAL, 512), demands, {"p": "a"}, 3600) is None


@pytest.mark.parametrize("state", [adapt.STEADY, adapt.PRESSED, adapt.ROOMY, adapt.CHANGING, adapt.SETTLING])
def test_every_state_takes_whatever_a_look_finds(state: str) -> None:
    for found in (adapt.CALM, adapt.PRESSURE, adapt.ROOM, adapt.URGENT):
        assert adapt.TABLE[state, found]


def test_a_smoothed_value_follows_with_its_time_constant() -> None:
    smoothed = Smoothed(10)
    assert smoothed.take(100, 0) == 100
    assert smoothed.take(0, 10 * NS) == pytest.approx(36.8, abs=0.1)


def test_a_step_that_nobody_gave_cannot_be_reported() -> None:
    with pytest.raises(BugError):
        Adaptation(THERMAL, 512).after(Step({}, "heat", ""), 0)


def looks(
    adaptation: Adaptation,
    demands: list[Demand],
    running: dict[str, str],
    seconds: int,
    *,
    start: int = 0,
    limits: Limits = LIMITS,
    seen: Seen | None = None,
    available_mib: float | None = 5000.0,
    temperature_c: float | None = None,
    throttled: int | None = None,
    clock_ratio: float | None = None,
) -> Step | None:
    """Look for so many seconds at a board that stays as it is, until there is a step."""
    for second in range(start + adapt.LOOK_S, start + seconds + 1, adapt.LOOK_S):
        observed = Observed(
            mono_ns=second * NS,
            available_mib=available_mib,
            temperature_c=temperature_c,
            throttled=throttled,
            clock_ratio=clock_ratio,
            pipelines={each.pipeline: seen or Seen(windows_per_s=each.windows_per_s) for each in demands},
        )
        if step := adaptation.look(observed, demands, limits, running):
            return step
    return None
