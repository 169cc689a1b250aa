"""Recent latencies and rates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import MS, NS
from edged.histogram import HIGHEST_MS, LOWEST_MS, RELATIVE_ERROR, Histogram, RateMeter, RecentHistogram

in_range = st.floats(min_value=LOWEST_MS, max_value=HIGHEST_MS * 0.999)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(st.lists(in_range, min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_within_the_stated_error_of_the_value_at_its_rank(values: list[float], q: float) -> None:
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = filled(values).percentile(q)
    assert found is not None
    assert abs(found - exact) <= exact * (RELATIVE_ERROR + 1e-9)


@given(st.floats())
def test_any_float_is_counted(ms: float) -> None:
    histogram = filled([ms])
    histogram.record_many(ms, 2)
    assert histogram.count() == 3
    assert histogram.percentile(0.5) is not None


def test_beyond_the_range_counts_as_its_end() -> None:
    assert filled([-5.0, math.nan, 0.0, LOWEST_MS]).percentile(1) == pytest.approx(LOWEST_MS, rel=0.2)
    assert filled([math.inf, HIGHEST_MS, 1e300, math.nextafter(HIGHEST_MS, 0)]).percentile(0) == pytest.approx(HIGHEST_MS, rel=0.2)


@given(in_range, st.integers(0, 1000))
def test_recording_many_is_recording_one_by_one(ms: float, n: int) -> None:
    many = Histogram()
    many.record_many(ms, n)
    assert many.count() == n
    assert many.percentile(0.5) == filled([ms] * min(n, 1)).percentile(0.5)


@given(st.lists(in_range), st.lists(in_range))
def test_merged_is_as_if_recorded_in_one(a: list[float], b: list[float]) -> None:
    merged = filled(a)
    merged.merge(filled(b))
    assert [merged.percentile(q) for q in (0, 0.5, 0.99, 1)] == [filled(a + b).percentile(q) for q in (0, 0.5, 0.99, 1)]


def test_nothing_recorded_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None
    assert RecentHistogram(0).recent().percentile(0.99) is None


def test_recent_forgets_after_one_to_two_minutes() -> None:
    recent = RecentHistogram(0)
    recent.record(1000.0)
    recent.rotate(59 * NS)
    assert recent.recent().count() == 1
    recent.rotate(60 * NS)
    recent.record_many(1.0, 9)
    assert recent.recent().count() == 10
    assert recent.recent().percentile(1) == pytest.approx(1000, rel=0.1)
    recent.rotate(120 * NS)
    assert recent.recent().count() == 9
    assert recent.recent().percentile(1) == pytest.approx(1, rel=0.1)


def test_recent_is_empty_after_a_long_silence_between_rotations() -> None:
    recent = RecentHistogram(0)
    recent.record(5.0)
    recent.rotate(3600 * NS)
    assert recent.recent().count() == 0


def test_a_rate_is_over_the_last_ten_seconds() -> None:
    meter = RateMeter(0)
    assert meter.rate() == 0
    for second in range(1, 61):
        meter.observe(second * 100, second * NS)
    assert meter.rate() == pytest.approx(100)
    for second in range(61, 72):
        meter.observe(6000, second * NS)
    assert meter.rate() == 0


def test_a_rate_of_unsteady_ticks_is_still_right_and_bounded_in_memory() -> None:
    meter = RateMeter(0)
    for tick in range(1, 10_000):
        meter.observe(tick * 7, tick * 100 * MS)
    assert meter.rate() == pytest.approx(70)
    assert len(meter._samples) < 25


def test_a_meter_may_begin_with_a_counter_that_already_stands_somewhere() -> None:
    meter = RateMeter(0, total=5000)
    meter.observe(5010, NS)
    assert meter.rate() == pytest.approx(10)
