"""Bounds, metrics and thresholds against scipy, scikit-learn's definitions, and samples drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edged.fitting import bounds, metrics
from edged.fitting.threshold import fit_threshold

CASES = [(0, 1), (1, 1), (0, 59), (59, 59), (58, 59), (190, 200), (7, 1000), (993, 1000), (4999, 5000)]


@pytest.mark.parametrize(("count", "n"), CASES)
def test_the_interval_is_that_of_clopper_and_pearson(count: int, n: int) -> None:
    wanted = stats.binomtest(count, n).proportion_ci(0.95, "exact")
    assert bounds.interval(count, n, 0.95) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@pytest.mark.parametrize(("count", "n"), CASES)
@pytest.mark.parametrize("p", [1e-6, 0.3, 0.95, 0.999])
def test_the_tail_is_that_of_the_binomial_distribution(count: int, n: int, p: float) -> None:
    assert bounds.tail(count, n, p) == pytest.approx(stats.binom.sf(count - 1, n, p), rel=1e-9, abs=1e-300)


def test_bounds_of_nothing_say_nothing() -> None:
    assert bounds.lower_bound(0, 0, 0.05) == 0.0
    assert bounds.interval(0, 0, 0.95) == (0.0, 1.0)
    assert bounds.tail(3, 3, 1.0) == 1.0
    assert bounds.tail(3, 3, 0.0) == 0.0


def test_59_rows_without_an_error_show_95_percent_and_58_do_not() -> None:
    assert bounds.least_rows(0.95, 0.05) == 59
    assert bounds.lower_bound(59, 59, 0.05) >= 0.95 > bounds.lower_bound(58, 58, 0.05)


def test_the_rows_that_a_bound_needs_are_enough_and_not_far_too_many() -> None:
    n = bounds.rows_for(0.95, 0.05, 0.97)
    assert n is not None
    assert bounds.lower_bound(int(0.97 * n), n, 0.05) >= 0.95
    assert bounds.lower_bound(int(0.97 * (n // 2)), n // 2, 0.05) < 0.95
    assert bounds.rows_for(0.95, 0.05, 1.0) == 59


def test_no_number_of_rows_shows_what_is_not_so() -> None:
    assert bounds.rows_for(0.95, 0.05, 0.95) is None
    assert bounds.rows_for(0.95, 0.05, 0.950001) is None


def test_precision_and_recall_are_counted_by_label() -> None:
    truth, answer = np.array([0, 0, 0, 1, 1, 3]), np.array([0, 0, 1, 1, 0, 0])
    found = metrics.by_label(metrics.confusion(truth, answer, 4), ["a", "b", "c", "d"])
    assert [(each.support, each.precision, each.recall) for each in found] == [
        (3, 0.5, 2 / 3),
        (2, 0.5, 0.5),
        (0, None, None),
        (1, None, 0.0),
    ]


def test_the_calibration_error_is_the_gap_of_score_and_accuracy() -> None:
    right = np.arange(100) < 80
    assert metrics.calibration_error(np.full(100, 0.9), right) == pytest.approx(0.1)
    assert metrics.calibration_error(np.ones(10), np.ones(10, bool)) == 0.0
    assert metrics.calibration_error(np.zeros(0), np.zeros(0, bool)) == 0.0


def test_a_score_on_an_edge_belongs_to_the_bin_below() -> None:
    scores = np.array([1 / 15, 1 / 15 + 1e-9])
    # One bin would give |mean(scores) - 0.5|; two give the gaps of each row.
    assert metrics.calibration_error(scores, np.array([True, False])) == pytest.approx((1 - 1 / 15 + 1 / 15) / 2, abs=1e-6)


def drawn(n: int, temperature: float, seed: int = 1) -> tuple[metrics.Floats, metrics.Ints]:
    """Draw log-odds, and truths that come true as often as softmax(log-odds / temperature) says."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(size=(n, 4)) * 4
    scores = metrics.scores_of(log_odds, temperature)
    return log_odds, np.array([rng.choice(4, p=row) for row in scores])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_scores_were_drawn_with_is_found(temperature: float) -> None:
    log_odds, truth = drawn(4000, temperature)
    found = metrics.fit_temperature(log_odds, truth)
    assert found == pytest.approx(temperature, rel=0.1)
    leading = metrics.scores_of(log_odds, found).max(axis=1)
    assert metrics.calibration_error(leading, log_odds.argmax(axis=1) == truth) < 0.03


def test_a_temperature_leaves_a_model_without_an_error_a_doubt() -> None:
    truth = np.arange(50) % 3
    log_odds = np.eye(3)[truth] * 2.0
    found = metrics.fit_temperature(log_odds, truth)
    assert 0.05 < found < 2.0
    assert metrics.scores_of(log_odds, found).max() < 0.999


def test_log_odds_that_are_infinite_give_finite_scores() -> None:
    log_odds = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    assert np.isfinite(metrics.scores_of(log_odds, 2.0)).all()
    assert np.isfinite(metrics.fit_temperature(log_odds, np.array([0, 0])))


def test_the_area_under_the_curve_is_the_part_of_pairs_in_order() -> None:
    rng = np.random.default_rng(1)
    clean, anomalous = rng.integers(0, 20, 80).astype(float), rng.integers(5, 25, 40).astype(float)
    wanted = stats.mannwhitneyu(anomalous, clean).statistic / (80 * 40)
    assert metrics.area_under_curve(clean, anomalous) == pytest.approx(wanted)
    assert metrics.area_under_curve(clean, np.zeros(0)) is None


def test_a_threshold_keeps_the_rate_of_false_alarms_as_often_as_it_says() -> None:
    """Of 400 samples, the threshold of one in ten may fail; 0.1 ± 5 sigma of that."""
    rng = np.random.default_rng(1)
    found = [fit_threshold(rng.exponential(size=500), rate=0.02, confidence=0.9) for _ in range(400)]
    failed = sum(np.exp(-each.value) > 0.02 for each in found)
    assert 0 < failed / 400 < 0.1 + 5 * (0.1 * 0.9 / 400) ** 0.5
    assert {each.most for each in found} == {0.02}


def test_a_threshold_lies_just_past_a_clean_score_on_the_side_of_anomalies() -> None:
    scores = np.arange(1, 101) / 10
    above, below = (fit_threshold(scores, 0.05, 0.95, side) for side in ("above", "below"))
    assert (above.value, below.value) == (9.90001, 0.199999)
    assert (scores >= above.value).sum() == above.beyond == (scores <= below.value).sum() == below.beyond == 1


@pytest.mark.parametrize("score", [0.0, 1.0, 1.23456, -9.99999, 999999.0, 1e-200])
def test_a_threshold_of_equal_scores_is_the_next_number_that_results_can_have(score: float) -> None:
    above, below = (fit_threshold(np.full(3000, score), 0.001, 0.95, side).value for side in ("above", "below"))
    assert below < score < above
    assert float(f"{above:.6g}") == above
    assert float(f"{below:.6g}") == below
    assert above - score <= 1.01e-5 * abs(score) + 1e-280


def test_with_too_few_windows_a_threshold_says_what_it_is_worth() -> None:
    found = fit_threshold(np.arange(100.0), 0.001, 0.95)
    assert (found.needed, found.beyond, found.windows) == (2995, 0, 100)
    assert found.most == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-6)
    assert found.value > 99
