"""When readings were taken: simulated clocks, sensors and lines against the truth, and each thing that goes wrong with them."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from firmware_bridge.clock_fit import ClockFit
from firmware_bridge.earliest import Earliest
from firmware_bridge.exchanges import Exchanges
from firmware_bridge.hull import lower_hull, slope_along, slope_under
from firmware_bridge.outliers import alone_below, too_short
from firmware_bridge.pace import Pace
from firmware_bridge.stamps import Stamps
from tests.ticking import NS, WRAP, Setup, exchange, run

MS = 1_000_000
START = 10**13


# (a) even steps, and (b) true times.

_SENSORS = [
    Setup(26, (1, 1), 600),
    Setup(26, (100, 100), 4000),
    Setup(26, (1, 100), 4000),
    Setup(104, (1, 1), 600),
    Setup(104, (1, 100), 1200),
    Setup(416, (32, 32), 600),
    Setup(1660, (1, 100), 300),
    Setup(4000, (100, 100), 600),
    Setup(4000, (1, 100), 200),
    Setup(4000, (1, 1), 65),
]


def _name(setup: Setup) -> str:
    return f"{setup.rate_hz:g} Hz, {setup.count[0]} to {setup.count[1]}"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sensor", _SENSORS, ids=_name)
def test_times_are_even_and_after_a_minute_true(sensor: Setup, seed: int) -> None:
    dice = random.Random(f"{sensor} {seed}")
    setup = replace(
        sensor,
        jitter_ms=dice.choice([0.5, 1.0, 5.0]),
        drift=dice.choice([2e-4, -2e-4, 0.02, -0.02]),
        rate_off=dice.choice([-0.08, 0.0, 0.08]),
        first_tick=dice.randrange(WRAP),
    )
    seen = run(setup, seed)
    steps = seen.even_steps()
    assert steps.min() > 0.9, setup
    assert steps.max() < 1.1, setup
    errors = seen.late_errors()
    assert np.percentile(errors, 99) < 0.5 * NS / setup.rate_hz, setup
    assert errors.max() < NS / setup.rate_hz, setup
    assert (seen.stamps.jumps, seen.stamps.fit.rejected, seen.stamps.fit.resets) == (0, 0, 0)


@settings(max_examples=25)
@given(
    st.builds(
        Setup,
        rate_hz=st.sampled_from([26.0, 104.0, 416.0, 1660.0, 4000.0]),
        count=st.tuples(st.integers(1, 100), st.integers(0, 99)).map(lambda each: (each[0], each[0] + each[1])),
        seconds=st.just(150.0),
        jitter_ms=st.floats(0.5, 5.0),
        delay_ms=st.floats(0.0, 20.0),
        drift=st.floats(-2e-4, 2e-4) | st.floats(-0.02, 0.02),
        rate_off=st.floats(-0.08, 0.08),
        first_tick=st.integers(0, WRAP - 1),
        tick_hz=st.sampled_from([1e5, 1e6, 16e6, 1e8]),
    ),
    st.integers(0, 2**32),
)
def test_times_are_even_and_true_for_any_sensor_and_line(setup: Setup, seed: int) -> None:
    assume(setup.rate_hz / setup.count[0] < 1000)
    seen = run(setup, seed)
    steps = seen.even_steps()
    assert steps.min() > 0.75
    assert steps.max() < 1.25
    assert seen.late_errors(90).max() < NS / setup.rate_hz
    assert seen.stamps.fit.drift_ppm == pytest.approx(setup.drift * 1e6, abs=500)
    assert seen.stamps.period_ns == pytest.approx(NS / setup.rate_hz / (1 + setup.rate_off), rel=2e-3)


def test_the_drift_is_found_and_is_that_of_the_firmwares_clock() -> None:
    for drift in (2e-4, -2e-4, 0.02, -0.02):
        seen = run(Setup(416, (32, 32), 400, jitter_ms=5.0, drift=drift), 1)
        assert seen.stamps.fit.drift_ppm == pytest.approx(drift * 1e6, abs=1)


def test_a_tick_that_wraps_every_forty_seconds_is_followed() -> None:
    seen = run(Setup(1000, (20, 20), 400, drift=-2e-4, tick_hz=1e8, lost=0.02), 1)
    assert seen.late_errors().max() < 0.1 * MS
    assert seen.even_steps().max() < 1.1


def test_a_drift_that_swings_is_followed() -> None:
    seen = run(Setup(416, (32, 32), 1800, drift=-2e-5, swing=1e-6), 1)
    assert seen.late_errors().max() < 0.3 * MS


def test_without_answers_times_are_late_by_the_least_delay() -> None:
    seen = run(Setup(104, (8, 8), 600, jitter_ms=2.0, delay_ms=7.0, drift=2e-4, asked=False), 1)
    late = seen.error[seen.truth > seen.truth[0] + 60 * NS]
    assert late.min() > 6.5 * MS
    assert late.max() < 8.0 * MS
    assert seen.stamps.fit.accuracy_ns is None


def test_with_answers_the_delay_is_known_and_so_is_the_accuracy() -> None:
    seen = run(Setup(104, (8, 8), 600, jitter_ms=2.0, delay_ms=7.0, drift=2e-4), 1)
    accuracy = seen.stamps.fit.accuracy_ns
    assert accuracy is not None
    assert seen.late_errors().max() < 0.5 * MS
    assert 7.0 * MS < accuracy < 8.0 * MS


@pytest.mark.parametrize(
    ("rate_hz", "tick_hz", "count"), [(1000, 1000, (1, 1)), (1660, 1000, (1, 1)), (1660, 1000, (20, 20)), (1660, 32768, (1, 5))]
)
def test_clocks_that_count_in_long_steps_give_even_times(rate_hz: float, tick_hz: float, count: tuple[int, int]) -> None:
    """As `millis()` does: readings come as often as ticks, or more often."""
    seen = run(Setup(rate_hz, count, 80, rate_off=-0.08, tick_hz=tick_hz), 1)
    steps = seen.even_steps()[100:]
    assert steps.min() > 0.75
    assert steps.max() < 1.25
    assert seen.late_errors().max() < NS / rate_hz + NS / tick_hz
    assert seen.stamps.jumps == 0


# (c) holes.


@pytest.mark.parametrize("sensor", [Setup(26, (1, 20), 1500), Setup(416, (32, 32), 400), Setup(4000, (100, 100), 200)], ids=_name)
@pytest.mark.parametrize("drift", [2e-4, -0.02])
def test_lost_frames_show_as_a_step_of_their_true_length(sensor: Setup, drift: float) -> None:
    seen = run(replace(sensor, jitter_ms=5.0, drift=drift, rate_off=0.08, lost=0.05), 1)
    holes = seen.holes()
    assert len(holes) > 20
    assert holes.min() > 0.85
    assert holes.max() < 1.15
    assert seen.even_steps().max() < 1.1
    assert seen.late_errors().max() < NS / sensor.rate_hz


class Firmware:
    """One whose clock and sensor are perfect; blocks come at once. What goes wrong is told to it."""

    def __init__(self, rate_hz: float = 100.0, count: int = 10, tick_hz: float = 1e6) -> None:
        self.stamps = Stamps(tick_hz, rate_hz)
        self.count = count
        self.period = round(NS / rate_hz)
        self.tick_hz = tick_hz
        self.now = START
        self.shift = 0  # ticks that the counter has jumped by
        self.last: int | None = None

    def tick(self, ns: int) -> int:
        return (int((ns - START) * self.tick_hz / NS) + self.shift) % WRAP

    def block(self, follows: bool = True, late_ns: int = 0, more: int = 0, clock_ns: int = 0) -> list[float]:
        """Let a block come; give its steps, in periods, that before its first reading first."""
        self.now += self.count * self.period
        before = self.last
        first, last = self.stamps.block((self.tick(self.now) + more) % WRAP, self.count, follows, self.now + late_ns + clock_ns)
        self.last = last
        step = (last - first) / (self.count - 1) / self.period if self.count > 1 else 1.0
        return [step, step] if before is None else [(first - before) / self.period, step]

    def blocks(self, count: int) -> Firmware:
        for _ in range(count):
            self.block()
        return self

    def skip(self, readings: int) -> None:
        self.now += readings * self.period

    @property
    def error(self) -> int:
        assert self.last is not None
        return self.last - self.now


def test_readings_lost_inside_the_firmware_show_as_a_hole() -> None:
    firmware = Firmware().blocks(200)
    firmware.skip(3)
    assert firmware.block() == pytest.approx([4, 1], abs=0.01)
    assert firmware.block() == pytest.approx([1, 1], abs=0.01)


def test_one_reading_lost_inside_the_firmware_shows() -> None:
    firmware = Firmware().blocks(200)
    firmware.skip(1)
    assert firmware.block() == pytest.approx([2, 1], abs=0.01)


def test_a_lost_frame_without_readings_leaves_no_hole() -> None:
    firmware = Firmware().blocks(200)
    assert firmware.block(follows=False) == pytest.approx([1, 1], abs=0.01)


def test_an_hour_of_silence_is_an_hour() -> None:
    firmware = Firmware().blocks(200)
    firmware.skip(360_000)
    assert firmware.block() == pytest.approx([360_001, 1], abs=0.1)
    assert abs(firmware.error) < MS


def test_after_a_silence_of_more_than_a_wrap_the_hosts_time_counts_the_wraps() -> None:
    firmware = Firmware(tick_hz=1e8).blocks(200)
    for wraps in (0.6, 1.0, 1.4, 7.5):
        firmware.skip(round(wraps * WRAP / 1e8 * 100))
        firmware.block(follows=False)
        assert abs(firmware.error) < MS


def test_blocks_of_another_rate_than_it_says_are_measured() -> None:
    firmware = Firmware(rate_hz=100.0)
    firmware.stamps = Stamps(1e6, 80.0)
    steps = [step for _ in range(50) for step in firmware.block()][2:]
    assert (min(steps), max(steps)) == pytest.approx((1, 1), abs=0.1)
    assert firmware.stamps.period_ns == pytest.approx(10 * MS, rel=1e-3)


# (d) wrong ticks, and clocks that jump.


@pytest.mark.parametrize("sensor", [Setup(104, (1, 20), 900), Setup(4000, (100, 100), 300)], ids=_name)
def test_wrong_early_ticks_do_not_pull_the_line(sensor: Setup) -> None:
    setup = replace(sensor, drift=-0.02, rate_off=0.08, wrong=0.01)
    seen, sound = run(setup, 1), run(replace(setup, wrong=0.0), 1)
    assert seen.stamps.fit.rejected > 50
    assert seen.stamps.fit.resets == 0
    assert seen.late_errors(70).max() < NS / setup.rate_hz
    assert abs(seen.late_errors(70).max() - sound.late_errors(70).max()) < 0.2 * NS / setup.rate_hz


def test_slightly_early_ticks_are_told_beside_the_others() -> None:
    setup = Setup(416, (32, 32), 900, jitter_ms=0.5, drift=2e-4, wrong=0.01, wrong_s=(0.002, 0.02))
    seen = run(setup, 1)
    assert seen.stamps.fit.rejected > 30
    assert np.percentile(seen.late_errors(70), 90) < 0.2 * MS


def test_a_block_with_a_wrong_tick_is_placed_by_count() -> None:
    firmware = Firmware().blocks(200)
    assert firmware.block(more=50_000_000) == pytest.approx([1, 1], abs=0.01)
    assert firmware.block() == pytest.approx([1, 1], abs=0.01)
    assert firmware.stamps.fit.rejected == 1
    assert abs(firmware.error) < MS


def test_a_block_with_a_wrong_tick_after_a_gap_is_placed_by_its_arrival() -> None:
    firmware = Firmware().blocks(200)
    firmware.skip(500)
    assert firmware.block(follows=False, more=50_000_000) == pytest.approx([501, 1], abs=1)
    assert abs(firmware.error) < MS


def test_a_tick_that_goes_back_once_is_not_believed() -> None:
    firmware = Firmware().blocks(200)
    assert firmware.stamps.goes_back(firmware.tick(firmware.now - NS))
    assert firmware.block(more=-5_000_000) == pytest.approx([1, 1], abs=0.01)
    assert firmware.block() == pytest.approx([1, 1], abs=0.01)
    assert firmware.stamps.fit.rejected == 0


def test_a_host_clock_that_is_wrong_once_does_not_pull_the_line() -> None:
    firmware = Firmware().blocks(200)
    assert firmware.block(clock_ns=-50 * MS) == pytest.approx([1, 1], abs=0.01)
    firmware.blocks(100)
    assert abs(firmware.error) < MS
    assert firmware.stamps.fit.rejected == 1


@pytest.mark.parametrize("hours", [1, 20])
def test_ticks_that_jump_on_for_good_are_learned_after_five_seconds_and_no_reading_jumps(hours: int) -> None:
    """A host that slept looks so, as its monotonic clock does not count that."""
    firmware = Firmware(tick_hz=1e4).blocks(200)
    firmware.shift = hours * 3600 * 10_000
    steps = [step for _ in range(200) for step in firmware.block()]
    assert (min(steps), max(steps)) == pytest.approx((1, 1), abs=0.16)
    assert abs(firmware.error) < 5 * MS
    assert (firmware.stamps.fit.resets, firmware.stamps.jumps) == (1, 0)


def test_ticks_that_stood_still_for_a_while_are_learned_after_twenty_seconds() -> None:
    firmware = Firmware().blocks(600)
    firmware.shift = -2_000_000
    firmware.blocks(300)
    assert abs(firmware.error) < 10 * MS
    assert firmware.stamps.fit.resets == 1


def test_what_was_learned_of_drift_outlives_a_jump() -> None:
    setup = Setup(416, (32, 32), 120, drift=0.02)
    seen = run(setup, 1)
    fit = seen.stamps.fit
    ticks, now = fit.newest, int(seen.truth[-1])
    assert ticks is not None
    for number in range(1, 80):
        fit.arrived(ticks + 10**9 + int(number * 1.02e5), now + number * NS // 10)
    assert fit.resets == 1
    assert fit.drift_ppm == pytest.approx(20_000, abs=50)


def test_a_wrong_first_tick_is_forgotten_within_seconds() -> None:
    firmware = Firmware()
    firmware.block(more=300_000_000)
    firmware.blocks(150)
    assert abs(firmware.error) < 5 * MS


def test_a_reader_that_stalls_and_gets_all_at_once_changes_nothing() -> None:
    firmware = Firmware().blocks(600)
    for late in range(30, -1, -1):
        assert firmware.block(late_ns=late * 100 * MS) == pytest.approx([1, 1], abs=0.01)
    assert firmware.stamps.fit.resets == 0
    assert abs(firmware.error) < MS


def test_one_block_that_is_late_by_half_a_minute_changes_nothing() -> None:
    firmware = Firmware().blocks(600)
    firmware.block(late_ns=30 * NS)
    firmware.now += 31 * NS
    firmware.blocks(3)
    assert firmware.stamps.fit.resets == 0
    assert abs(firmware.error) < MS


# Delays that change.


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("more_ms", [3.0, 10.0, 100.0])
@pytest.mark.parametrize("seconds", [10.0, 120.0, 700.0])
def test_a_time_when_all_is_late_bends_no_line(asked: bool, more_ms: float, seconds: float) -> None:
    """A busy host, or a line that is full: for a short time it is not followed, for a longer one as far as answers tell."""
    setup = Setup(416, (8, 8), 1000, jitter_ms=0.5, drift=2e-4, slow=(200.0, 200.0 + seconds, more_ms), asked=asked)
    seen = run(setup, 1)
    steps = seen.even_steps()[500:]
    assert (steps.min(), steps.max()) == pytest.approx((1, 1), abs=0.02)
    passed = (seen.truth - seen.truth[0]) / NS
    late = seen.error - (0 if asked else 0.5 * MS)
    during, after = (passed > 210) & (passed < 200 + seconds), passed > 200 + seconds + 1.1 * 100 * more_ms / 1000 + 30
    assert np.abs(late[during]).max(initial=0) < (more_ms + 0.6) * MS
    assert np.abs(late[after]).max() < 0.3 * MS
    settled = during & (passed > 200 + 60 + 0.1 * more_ms)
    assert not asked or np.abs(late[settled]).max(initial=0) < 0.6 * MS


def test_a_short_time_when_all_is_late_is_not_followed_at_all() -> None:
    seen = run(Setup(416, (8, 8), 600, jitter_ms=0.5, drift=2e-4, slow=(200.0, 215.0, 20.0)), 1)
    assert seen.late_errors().max() < 0.1 * MS
    assert seen.stamps.fit.resets == 0


@pytest.mark.parametrize("fall_ms", [0.5, 3.0, 20.0])
def test_arrivals_that_become_earlier_for_good_are_believed_within_seconds(fall_ms: float) -> None:
    seen = run(Setup(416, (8, 8), 600, jitter_ms=0.5, drift=2e-4, slow=(0.0, 200.0, fall_ms)), 1)
    passed = (seen.truth - seen.truth[0]) / NS
    assert np.abs(seen.error[passed > 60]).max() < (fall_ms + 0.5) * MS
    assert np.abs(seen.error[passed > 260]).max() < 0.6 * MS
    assert np.abs(seen.error[passed > 550]).max() < 0.3 * MS
    assert seen.even_steps()[500:].max() < 1.02


@pytest.mark.parametrize("seconds", [208.0, 212.0, 220.0, 250.0])
@pytest.mark.parametrize("fall_ms", [4.0, 40.0])
def test_the_drift_that_is_known_is_not_learned_anew_from_a_few_seconds(seconds: float, fall_ms: float) -> None:
    seen = run(Setup(416, (104, 104), seconds, jitter_ms=5.0, drift=2e-4, slow=(0.0, 200.0, fall_ms)), 1)
    assert seen.stamps.fit.drift_ppm == pytest.approx(200, abs=30)


# Corrections.


def test_a_correction_comes_slowly() -> None:
    """The first blocks come 100 ms late, then they do not: times follow by 1 % of what passes."""
    firmware = Firmware()
    for _ in range(5):
        firmware.block(late_ns=100 * MS)
    steps = [firmware.block() for _ in range(150)]
    assert min(min(each) for each in steps) == pytest.approx(0.99, abs=0.001)
    assert max(max(each) for each in steps) < 1.01
    assert abs(firmware.error) < MS
    assert firmware.stamps.jumps == 0


def test_what_answers_say_comes_slowly_too() -> None:
    firmware = Firmware()
    for _ in range(300):
        firmware.block(late_ns=80 * MS)
    for number in range(20):
        sent = firmware.now + number * MS
        exchange(firmware.stamps, sent, firmware.tick(sent), firmware.tick(sent), sent)
    steps = [firmware.block(late_ns=80 * MS) for _ in range(200)]
    assert min(min(each) for each in steps) == pytest.approx(0.99, abs=0.001)
    assert abs(firmware.error) < 2 * MS


def test_what_is_off_by_more_than_half_a_second_is_put_right_at_once_and_counted() -> None:
    firmware = Firmware()
    firmware.block(late_ns=2 * NS)
    firmware.blocks(100)
    assert firmware.stamps.jumps == 1
    assert abs(firmware.error) < 5 * MS


def test_a_gap_takes_up_a_part_of_what_is_to_be_put_right() -> None:
    firmware = Firmware()
    for _ in range(5):
        firmware.block(late_ns=100 * MS)
    firmware.blocks(8)
    before = firmware.error
    firmware.skip(40)
    firmware.block(follows=False)
    assert before - firmware.error == pytest.approx(40 * MS, abs=2 * MS)


_ODD = st.tuples(
    st.integers(0, WRAP - 1) | st.integers(0, 10**6),
    st.integers(1, 1000),
    st.booleans(),
    st.integers(0, 100 * NS) | st.integers(0, 10 * MS),
)


@given(st.sampled_from([1.0, 1000.0, 1e6, 1e8]), st.sampled_from([0.001, 26.0, 4000.0, 1e6]), st.lists(_ODD, max_size=60))
def test_whatever_ticks_say_times_rise_and_nothing_is_raised(
    tick_hz: float, rate_hz: float, blocks: list[tuple[int, int, bool, int]]
) -> None:
    stamps, now, before, jumps = Stamps(tick_hz, rate_hz), START, None, 0
    for tick, count, follows, passed in blocks:
        now += passed
        first, last = stamps.block(tick, count, follows, now)
        assert first <= last
        assert before is None or first > before or stamps.jumps > jumps
        before, jumps = last, stamps.jumps
        stamps.goes_back(tick)
        exchange(stamps, now - passed, tick, tick + count, now)
    assert stamps.period_ns > 0


def test_a_firmware_that_always_says_the_same_tick_is_counted() -> None:
    stamps, before = Stamps(1e6, 1000.0), None
    for number in range(1000):
        jumps = stamps.jumps
        first, last = stamps.block(7, 25, True, START + number * 25 * MS)
        assert before is None or first > before or stamps.jumps > jumps
        before = last
    assert stamps.jumps + stamps.fit.resets > 2


# Going back.


def test_a_tick_goes_back_when_it_is_before_the_last_one() -> None:
    firmware = Firmware()
    assert not firmware.stamps.goes_back(5)
    firmware.shift = WRAP - 500_000
    firmware.blocks(8)
    assert firmware.tick(firmware.now) < 500_000 < 10**9
    assert not firmware.stamps.goes_back(firmware.tick(firmware.now))
    assert not firmware.stamps.goes_back(firmware.tick(firmware.now + 10 * NS))
    assert firmware.stamps.goes_back(firmware.tick(firmware.now - 2 * NS))


def test_answers_tell_a_tick_that_wrapped_in_a_long_silence_from_one_that_goes_back() -> None:
    firmware = Firmware(tick_hz=1e8).blocks(20)
    later = firmware.now + round(0.6 * WRAP / 1e8 * NS)
    assert firmware.stamps.goes_back(firmware.tick(later))
    for sent in range(firmware.now, later, 10 * NS):
        exchange(firmware.stamps, sent, firmware.tick(sent), firmware.tick(sent), sent + MS)
    assert not firmware.stamps.goes_back(firmware.tick(later))


# Ticks that wrap.


@given(st.lists(st.integers(-1000, WRAP // 2 - 1), min_size=1, max_size=50), st.integers(0, WRAP - 1))
def test_unwrapped_ticks_step_as_the_ticks_do(steps: list[int], first: int) -> None:
    fit = ClockFit(1e6)
    ticks = first
    assert fit.unwrap(first, START) == first
    for number, step in enumerate(steps, 1):
        assert fit.unwrap((ticks + step) % WRAP, START + number) == ticks + step
        if step > 0 and fit.arrived(ticks + step, START + number):
            ticks += step
    assert fit.newest == ticks or fit.newest == first


@given(st.sampled_from([1000.0, 1e6, 1e8]), st.floats(0.52, 20.0), st.floats(-0.02, 0.02))
def test_after_silence_wraps_are_counted_by_the_hosts_time(tick_hz: float, wraps: float, drift: float) -> None:
    fit = ClockFit(tick_hz)
    first = fit.unwrap(123, START)
    fit.arrived(first, START)
    passed = round(wraps * WRAP / tick_hz * NS)
    ticks = 123 + round(passed / NS * tick_hz * (1 + drift))
    assert fit.unwrap(ticks % WRAP, START + passed) == ticks


def test_a_tick_a_little_older_than_the_newest_gives_a_little_less() -> None:
    fit = ClockFit(1e6)
    fit.arrived(fit.unwrap(5, START), START)
    assert fit.unwrap(WRAP - 5, START + 1) == -5


# The fit.


def test_the_first_arrival_is_taken_for_its_time() -> None:
    fit = ClockFit(1e6)
    assert fit.arrived(100, START)
    assert fit.at(100) == START
    assert fit.at(1100) == START + MS
    assert (fit.drift_ppm, fit.accuracy_ns, fit.rejected, fit.resets) == (0, None, 0, 0)


def test_a_restarted_firmware_is_learned_from_nothing() -> None:
    seen = run(Setup(104, (8, 8), 60, drift=0.02), 1)
    fit = seen.stamps.fit
    fit.reset()
    assert (fit.drift_ppm, fit.accuracy_ns, fit.newest) == (0, None, None)
    assert fit.arrived(5, START)
    assert fit.at(5) == START


def test_a_drift_that_no_line_could_have_is_not_believed() -> None:
    fit = ClockFit(1e6)
    for number in range(50):
        fit.arrived(number * 100_000, START + number * 100 * MS + (80 * MS if number else 0))
    assert abs(fit.drift_ppm) < 30_000


def test_what_is_kept_is_bounded() -> None:
    stamps = run(Setup(1660, (20, 20), 900), 1).stamps
    assert len(stamps.fit._line._earliest.points) <= 300
    assert len(stamps.fit._exchanges._all) <= 128


def test_exchanges_that_cannot_be_true_are_rejected() -> None:
    fit = ClockFit(1e6)
    fit.arrived(1000, START)
    fit.exchanged(START, 2000, 1000, START + 10 * MS)  # answered before it was asked
    fit.exchanged(START, 1000, 21_000, START + 10 * MS)  # took longer than there and back
    fit.exchanged(START + 10 * MS, 1000, 1000, START)
    assert fit.rejected == 3
    fit.exchanged(START, 1000, 2000, START + 10 * MS)
    assert fit.rejected == 3


# Its parts.

_POINTS = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 1000)), min_size=2, max_size=30).map(
    lambda steps: [(float(sum(step for step, _ in steps[: i + 1])), float(y)) for i, (_, y) in enumerate(steps)]
)


@given(_POINTS)
def test_the_line_under_points_is_the_nearest_of_all_under_them(points: list[tuple[float, float]]) -> None:
    slope = slope_under(points)

    def distance(slope: float) -> float:
        heights = [y - slope * x for x, y in points]
        return sum(height - min(heights) for height in heights)

    best = min(distance((by - ay) / (bx - ax)) for i, (bx, by) in enumerate(points) for ax, ay in points[:i])
    assert distance(slope) == pytest.approx(best, abs=1e-6)


@given(_POINTS)
def test_the_lower_hull_is_under_all_points_and_bends_up_only(points: list[tuple[float, float]]) -> None:
    hull = lower_hull(points)
    assert set(hull) <= set(points)
    assert (hull[0], hull[-1]) == (points[0], points[-1])
    slopes = [(by - ay) / (bx - ax) for (ax, ay), (bx, by) in pairwise(hull)]
    assert slopes == sorted(slopes)
    assert all(y >= np.interp(x, *zip(*hull)) - 1e-9 for x, y in points)


def test_a_delay_too_short_to_be_true_is_found_and_a_long_one_is_none() -> None:
    dice = random.Random(1)
    delays = [dice.expovariate(1) for _ in range(100)]
    assert not any(too_short([*delays, 500.0], 0.1))
    assert too_short([*delays, -20.0], 0.1) == [False] * 100 + [True]
    assert not any(too_short([*delays, -20.0], 30.0))


def test_of_few_delays_none_is_too_short() -> None:
    assert too_short([1.0] * 14 + [-1000.0], 1.0) == [False] * 15


def test_a_delay_that_is_alone_below_the_others_is_found() -> None:
    dice = random.Random(1)
    delays = [dice.expovariate(1) for _ in range(32)]
    assert not any(alone_below(delays, 3.0))
    assert alone_below([*delays, -20.0, -10.0, 50.0], 3.0) == [False] * 32 + [True, True, False]


def test_a_delay_in_company_is_not_alone() -> None:
    dice = random.Random(1)
    delays = [dice.expovariate(1) for _ in range(32)]
    assert any(alone_below([*delays, -20.0, -20.5, -21.0], 3.0))
    assert not any(alone_below([*delays, -20.0, -20.5, -21.0, -19.5], 3.0))


@given(st.floats(-100, 100), st.integers(0, 2**32))
def test_the_slope_of_most_points_is_found_whatever_a_quarter_say(slope: float, seed: int) -> None:
    dice = random.Random(seed)
    points = [(float(x), slope * x + dice.uniform(-1, 1)) for x in range(64)]
    for place in dice.sample(range(64), 8):
        points[place] = (points[place][0], points[place][1] - dice.uniform(0, 1000))
    assert slope_along(points) == pytest.approx(slope, abs=0.2)


def test_of_each_second_the_earliest_arrival_is_kept_by_the_rate_of_ticks() -> None:
    earliest = Earliest()
    for number, late in enumerate((5, 3, 9)):
        earliest.add(number * 10, START + number * 10 * MS + late * MS, 1.0 * MS)
    assert earliest.points == [(10, START + 13 * MS)]


def test_buckets_grow_to_a_second_and_no_more_than_five_minutes_are_kept() -> None:
    earliest = Earliest()
    for number in range(20_000):
        earliest.add(number, START + number * 50 * MS, 50.0 * MS)
        assert len(earliest.points) <= 300
    steps = {(b - a) / NS for (_, a), (_, b) in pairwise(earliest.points)}
    assert steps == {1.0}
    assert earliest.points[-1][0] > 19_970


def test_the_least_delays_of_both_ways_say_how_late_a_line_is() -> None:
    exchanges = Exchanges()
    dice = random.Random(1)
    late = 40 * MS
    for number in range(100):
        taken = START + number * NS
        down, up = (round((2 + dice.expovariate(1)) * MS) for _ in range(2))
        exchanges.add(taken - down, number * 1000, number * 1000, taken + up, 1.0 * MS)
    correction = exchanges.correction(lambda ticks: START + ticks * MS + late, 0)
    assert correction == pytest.approx(-late, abs=0.1 * MS)
    accuracy = exchanges.accuracy_ns(1.0 * MS)
    assert accuracy is not None
    assert 2 * MS < accuracy < 2.5 * MS


def test_an_exchange_with_wrong_ticks_does_not_count() -> None:
    exchanges = Exchanges()
    for number in range(60):
        taken = number * 1000 + (500 if number == 30 else 0)
        exchanges.add(START + number * NS, taken, taken, START + number * NS + 4 * MS, 1.0 * MS)
    assert exchanges.correction(lambda ticks: START + ticks * MS, 0) == pytest.approx(2 * MS, abs=0.1 * MS)


def test_without_exchanges_nothing_is_known() -> None:
    assert Exchanges().correction(lambda ticks: ticks, 0) is None
    assert Exchanges().accuracy_ns(1.0) is None


def test_a_pace_begins_with_the_nominal_one_and_learns_the_true_one() -> None:
    pace = Pace(1000.0)
    assert pace.period == 1000
    pace.learn(10_800, 10)
    assert pace.period == pytest.approx(1080)
    for _ in range(100):
        pace.learn(10_800, 10)
    assert pace.misses(11_500, 10)
    assert not pace.misses(11_200, 10)


def test_a_pace_is_not_learned_from_blocks_with_holes() -> None:
    pace = Pace(1000.0)
    for number in range(100):
        pace.learn(10_000 if number % 5 else 25_000, 10)
    assert pace.period == pytest.approx(1000)


def test_a_pace_that_changes_for_good_is_learned_anew() -> None:
    pace = Pace(1000.0)
    for _ in range(100):
        pace.learn(8_500, 10)
    for _ in range(20):
        pace.learn(11_500, 10)
    assert pace.period == pytest.approx(1150)


def test_ticks_taken_at_odd_times_are_no_holes() -> None:
    pace, dice = Pace(1000.0), random.Random(1)
    late = 0
    for number in range(400):
        before, late = late, dice.randrange(1500)
        missed = pace.misses(10_000 + late - before, 10)
        assert number < 100 or not missed
        pace.learn(10_000 + late - before, 10)
    assert pace.misses(20_000, 10)
