"""Event times to nanoseconds, against Python's own datetime."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stream.decoders.times import FACTORS, Times, iso_ns

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
zones = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=zones))
@settings(max_examples=200, deadline=None)
def test_iso_agrees_with_datetime(when: datetime) -> None:
    assert iso_ns(when.isoformat()) == (when - EPOCH) // timedelta(microseconds=1) * 1000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:01", 10**9),
        ("1970-01-01T00:00:00.5", 5 * 10**8),
        ("1970-01-01T00:00:00,000000001Z", 1),
        ("1970-01-01T00:00:00.0000000019Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T01:00:00+0100", 0),
        ("1969-12-31T23:59:60Z", 0),
    ],
)
def test_iso_forms(text: str, ns: int) -> None:
    assert iso_ns(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "NaT",
        "2025-13-01T00:00Z",
        "2025-02-30T00:00Z",
        "2025-01-01T24:00Z",
        "2025-01-01T00:60Z",
        "2025-01-01T00:00:61Z",
        "2025-01-01",
        *["0000-01-01T00:00Z", "٢٠٢٥-01-01T00:00Z", "2025-01-01T00:00:00.Z", "2025-01-01T00:00:00Zx", "2025-01-01T00:00+1:00", "1" * 5000],
    ],
)
def test_not_iso(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        iso_ns(text)


@given(st.sampled_from(list(FACTORS)), st.lists(st.integers(-(2**70), 2**70), max_size=5))
def test_integers_are_exact_or_bad(unit: str, raw: list[int]) -> None:
    times, bad = Times(unit).many(raw)
    for i, value in enumerate(raw):
        ns = value * FACTORS[unit]
        assert (i in bad) == (not -(2**63) <= ns < 2**63)
        assert times[i] == (0 if i in bad else ns)


@given(st.sampled_from(list(FACTORS)), st.lists(st.floats() | st.integers(-(2**70), 2**70), min_size=1, max_size=5))
def test_a_time_does_not_depend_on_its_neighbours(unit: str, raw: list[float]) -> None:
    raw = [*raw, 9.21e18 / FACTORS[unit], -9.21e18 / FACTORS[unit]]
    times, bad = Times(unit).many(raw)
    for i, value in enumerate(raw):
        alone, alone_bad = Times(unit).many([value])
        assert (i in bad) == (alone_bad == [0])
        assert times[i] == alone[0]


@given(st.sampled_from(list(FACTORS)), st.lists(st.floats(-9e18, 9e18), min_size=1, max_size=5))
def test_floats_are_rounded_to_the_nearest_nanosecond(unit: str, raw: list[float]) -> None:
    times, bad = Times(unit).many(raw)
    for i, value in enumerate(raw):
        if i not in bad:
            whole = int(value // 1)
            assert abs(int(times[i]) - (whole * FACTORS[unit] + (value - whole) * FACTORS[unit])) <= max(1, abs(times[i]) * 2**-52)


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", "i8", ">u8", "f2", ">f4", "f8"])
def test_arrays_of_each_type(dtype: str) -> None:
    times, bad = Times("ms").array(np.array([0, 1, 100], dtype))
    assert times.tolist() == [0, 1_000_000, 100_000_000]
    assert bad == []


@pytest.mark.parametrize("value", [None, "5", b"5", True, [1], {}, 1j])
def test_what_is_no_number_is_bad(value: object) -> None:
    for unit in FACTORS:
        assert Times(unit).many([value, 1])[1] == [0]
    assert 0 in Times("iso").many([value])[1]
