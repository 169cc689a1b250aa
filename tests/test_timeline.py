"""Event time: late, duplicate, gaps; the rules one by one."""

import numpy as np
import pytest

from edged.clock import NS
from edged.stream.timeline import Timeline

PERIOD = NS // 10


def judge(timeline: Timeline, steps: list[float]) -> list[tuple[list[float], bool, int]]:
    """Judge readings whose times are `steps` in periods and whose values equal their times."""
    times = np.array([round(step * PERIOD) for step in steps], np.int64)
    values = np.array(steps, np.float32)[:, None]
    pieces = timeline.pieces(0, values, times)
    return [(np.round(piece.values[:, 0], 4).tolist(), piece.begin_anew, piece.filled) for piece in pieces]


def timeline(gap: str, patience: int = 8) -> Timeline:
    made = Timeline(10.0, gap, patience)
    made.reset(0)
    return made


def test_readings_in_order_are_one_piece():
    assert judge(timeline("void"), [0, 1, 2, 3]) == [([0, 1, 2, 3], False, 0)]


def test_a_step_of_one_and_a_half_periods_is_no_gap_and_one_beyond_is():
    assert judge(timeline("void"), [0, 1.5]) == [([0, 1.5], False, 0)]
    assert judge(timeline("void"), [0, 1.6]) == [([0], False, 0), ([pytest.approx(1.6)], True, 0)]


def test_hold_repeats_the_last_reading():
    assert judge(timeline("hold"), [0, 1, 4]) == [([0, 1], False, 0), ([1, 1], False, 2), ([4], False, 0)]


def test_interpolate_draws_a_line():
    assert judge(timeline("interpolate"), [0, 1, 4]) == [([0, 1], False, 0), ([2, 3], False, 2), ([4], False, 0)]


def test_a_gap_longer_than_a_window_is_void_under_every_rule():
    for rule in ("void", "hold", "interpolate"):
        assert judge(timeline(rule), [0, 1, 30]) == [([0, 1], False, 0), ([30], True, 0)]


def test_duplicates_and_late_readings_are_dropped_and_counted():
    line = timeline("void")
    assert [piece[0] for piece in judge(line, [0, 1, 1, 0, 2])] == [[0, 1], [2]]
    assert line.take_rejected() == {"duplicate": 1, "late": 1}
    assert line.take_rejected() == {}


def test_a_clock_set_back_begins_anew_after_a_window_of_patience():
    line = timeline("void", patience=3)
    pieces = judge(line, [1000, 1001, 5, 6, 7, 8, 9])
    assert pieces[0] == ([1000, 1001], False, 0)
    assert pieces[1:] == [([8, 9], True, 0)]
    assert line.take_rejected() == {"late": 3}


def test_streams_do_not_share_time():
    line = Timeline(10.0, "void", 8)
    line.reset(0)
    line.reset(1)
    fits = line.in_order(np.array([0, 1]), np.array([5 * PERIOD, 900 * PERIOD]))
    assert fits.tolist() == [True, True]
    assert line.in_order(np.array([0, 1]), np.array([6 * PERIOD, 900 * PERIOD])).tolist() == [True, False]


def test_without_a_rate_only_the_order_is_judged():
    line = Timeline(0.0, "void", 8)
    line.reset(0)
    assert line.run_in_order(0, np.array([1, 10**15], np.int64))
    assert not line.run_in_order(0, np.array([5], np.int64))


def test_what_a_broker_sends_again_does_not_set_the_clock_back() -> None:
    """Late readings in a row are those of a sensor whose clock was set, or old ones after a reconnect."""
    timeline = Timeline(10.0, "void", 3)
    timeline.reset(0)
    values, times = np.zeros((20, 1), np.float32), np.arange(20, dtype=np.int64) * 100_000_000
    assert timeline.run_in_order(0, times)
    timeline.again = True
    assert not any(list(timeline.pieces(0, values[:10], times[:10])))
    timeline.again = False
    assert timeline.run_in_order(0, times[-1:] + 100_000_000)
