"""What came in the last seconds: rates and values, whatever the sizes of blocks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.lately import LastSecond, Rate, Spread

S = 1_000_000_000


@pytest.mark.parametrize(("rate", "block"), [(26.0, 1), (26.0, 26), (4000.0, 10), (4000.0, 168), (0.5, 1), (1_000_000.0, 168)])
def test_a_rate_is_steady_whatever_the_size_of_blocks(rate: float, block: int) -> None:
    meter, now = Rate(), 0.0
    while now < 12 * S:
        now += block / rate * S
        meter.add(block, int(now))
        if now > 4 * S:
            assert meter.per_second(int(now)) == pytest.approx(rate, rel=0.01)


def test_a_rate_falls_in_silence_and_is_nothing_after_it() -> None:
    meter = Rate()
    for tenth in range(60):
        meter.add(1, tenth * S // 10)
    assert meter.per_second(6 * S) == pytest.approx(10, rel=0.02)
    assert 5 < meter.per_second(8 * S) < 10
    assert meter.per_second(20 * S) == 0
    meter.add(1, 30 * S)
    assert meter.per_second(30 * S) == 0


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(1, 1000)), max_size=200))
def test_a_rate_is_never_negative_and_holds_little(came: list[tuple[int, int]]) -> None:
    meter, now = Rate(), 0
    for pause, count in came:
        now += pause
        meter.add(count, now)
        assert meter.per_second(now) >= 0
    assert len(meter._came) <= 5 * 50 + 2


@given(st.lists(st.lists(st.floats(width=32), min_size=1, max_size=9), min_size=1, max_size=9))
def test_a_spread_is_that_of_the_finite_values(blocks: list[list[float]]) -> None:
    spread, parts = Spread(), [Spread() for _ in blocks]
    for part, block in zip(parts, blocks):
        part.take(block)
        spread.join(part)
    finite = [value for block in blocks for value in block if math.isfinite(value)]
    assert repr(spread.last) == repr(blocks[-1][-1])
    assert spread.count == len(finite)
    if finite:
        assert (spread.low, spread.high) == (min(finite), max(finite))
        assert spread.mean == pytest.approx(sum(finite) / len(finite), rel=1e-6, abs=1e-3 * max(map(abs, finite)))
    else:
        assert math.isnan(spread.mean)


def test_values_older_than_a_second_are_forgotten_but_the_last_ones_stay() -> None:
    lately = LastSecond()
    lately.add([[100.0], [1.0]], 0)
    for tenth in range(1, 15):
        lately.add([[float(tenth)], [1.0]], tenth * S // 10)
    first, _ = lately.spreads(14 * S // 10)
    assert (first.low, first.high, first.last) == (4, 14, 14)
    first, _ = lately.spreads(100 * S)
    assert first.last == 14


def test_another_count_of_channels_begins_anew() -> None:
    lately = LastSecond()
    lately.add([[1.0], [2.0]], 0)
    lately.add([[5.0]], 1)
    assert [spread.last for spread in lately.spreads(2)] == [5]
