"""Thresholds of cascades, on answers drawn at random whose true accuracy is known."""

from __future__ import annotations

import numpy as np
import pytest

from edged.fitting.cascade import NOTHING, Outcome, StageAnswers, fit_cascade, run_cascade


def drawn(rng: np.random.Generator, n: int, names: str = "ab", lift: float = 0.0) -> list[StageAnswers]:
    """Draw stages whose answers are right as often as their score says, the later ones surer."""
    stages = []
    for i, name in enumerate(names):
        scores = 1 - rng.random(n) ** (1 + i) * 0.75
        stages.append(StageAnswers(name, scores, rng.random(n) < scores + lift))
    return stages


MANY = drawn(np.random.default_rng(99), 50_000)


def true_accuracy(accept: tuple[float, ...]) -> float:
    """Give the accuracy of a cascade over very many rows as `drawn`."""
    found = run_cascade(MANY, accept)
    return found.accuracy if found.accuracy is not None else 1.0


def table(*rows: tuple[float, bool]) -> StageAnswers:
    return StageAnswers("a", np.array([score for score, _ in rows]), np.array([right for _, right in rows], bool))


def test_a_stage_is_asked_what_none_before_was_sure_of() -> None:
    first = table((0.9, True), (0.6, False), (0.9, False), (0.5, True))
    second = table((0.1, False), (0.8, True), (0.9, True), (0.2, True))
    found = run_cascade([first, second], [0.9, 0.8])
    assert found == Outcome((0.9, 0.8), 4, (4, 2), (2, 1), 2)
    assert (found.coverage, found.accuracy) == (0.75, 2 / 3)


@pytest.mark.parametrize(("target", "confidence"), [(0.9, 0.8), (0.95, 0.8)])
def test_the_target_is_missed_as_seldom_as_the_confidence_says(target: float, confidence: float) -> None:
    """Of 200 fits, one in five may accept rows that are right less often than the target; plus 4 sigma."""
    rng = np.random.default_rng(1)
    missed = reached = 0
    for _ in range(200):
        found = fit_cascade(drawn(rng, 300), drawn(rng, 300), target, confidence)
        reached += found.reached
        missed += found.reached and true_accuracy(found.chosen.accept) < target
    assert reached > 100
    assert missed <= 200 * 0.2 + 4 * (200 * 0.2 * 0.8) ** 0.5


def test_more_rows_give_more_coverage_and_the_target_stays() -> None:
    few, many = (fit_cascade(*(drawn(np.random.default_rng(seed), n) for seed in (1, 2)), 0.9, 0.95) for n in (300, 20_000))
    assert few.reached
    assert many.reached
    assert few.chosen.coverage < many.chosen.coverage
    assert true_accuracy(many.chosen.accept) == pytest.approx(0.9, abs=0.015)


def test_a_second_stage_takes_what_the_first_leaves() -> None:
    rng = np.random.default_rng(1)
    halves = drawn(rng, 4000), drawn(rng, 4000)
    both = fit_cascade(*halves, 0.9, 0.95)
    alone = fit_cascade(*([half[0]] for half in halves), 0.9, 0.95)
    assert both.chosen.coverage > alone.chosen.coverage + 0.1
    assert both.chosen.asked[1] == both.chosen.rows - both.chosen.taken[0]
    assert both.chosen.taken[1] > 0


def test_too_few_rows_accept_nothing_and_say_how_many_would_do() -> None:
    rng = np.random.default_rng(1)
    halves = [[StageAnswers("a", rng.random(40) * 0.5 + 0.5, np.ones(40, bool))] for _ in range(2)]
    found = fit_cascade(*halves, 0.95, 0.95)
    assert not found.reached
    assert found.chosen.accept == (NOTHING,)
    assert (found.chosen.accepted, found.chosen.accuracy) == (0, None)
    assert found.needed is not None
    assert found.needed >= 118  # twice the 59 rows that show 95 % without an error


def test_the_rows_that_would_do_do() -> None:
    rng = np.random.default_rng(1)
    few = fit_cascade(drawn(rng, 60), drawn(rng, 60), 0.95, 0.95)
    assert not few.reached
    assert few.needed is not None
    n = few.needed // 2
    assert sum(fit_cascade(drawn(rng, n), drawn(rng, n), 0.95, 0.95).reached for _ in range(20)) >= 10


def test_stages_that_are_never_right_enough_say_that_rows_do_not_help() -> None:
    rng = np.random.default_rng(1)
    halves = [[StageAnswers("a", rng.random(5000), rng.random(5000) < 0.6)] for _ in range(2)]
    found = fit_cascade(*halves, 0.95, 0.95)
    assert (found.reached, found.chosen.accept, found.needed) == (False, (NOTHING,), None)


def test_equal_scores_are_accepted_together() -> None:
    half = [table(*[(0.7, i % 10 > 0) for i in range(1000)], *[(0.9, True)] * 200)]
    found = fit_cascade(half, half, 0.95, 0.95)
    assert found.reached
    assert found.chosen.accept == (0.9,)


def test_proposals_go_from_strict_to_lenient() -> None:
    rng = np.random.default_rng(1)
    found = fit_cascade(drawn(rng, 2000), drawn(rng, 2000), 0.9, 0.95)
    coverage = [each.coverage for each in found.proposed]
    assert coverage == sorted(coverage)
    assert found.chosen in found.proposed
