"""What `edged why` says of each variant: the first reason that holds, and the nearest miss where there is no variant."""

from __future__ import annotations

import random

import pytest

from edged.errors import EXIT_NO_FIT
from edged.select.choose import choose
from edged.select.misses import number, pair
from edged.select.terms import Demand, Limits, Option
from edged.select.why import answer, explain, refusals
from tests.choices import WIDE, demand, option


def reasons(limits: Limits, *demands: Demand) -> dict[str, str]:
    """Give the reason of each variant; names must differ."""
    return {row.variant: row.reason for row in explain(demands, limits, choose(demands, limits))}


def refused(limits: Limits, *demands: Demand) -> str:
    [error] = refusals(demands, limits, choose(demands, limits)).values()
    assert (error.code, error.exit_code) == ("does-not-fit", EXIT_NO_FIT)
    assert error.hint
    return error.text


def test_an_engine_that_does_not_run_here_is_said_in_its_own_words() -> None:
    text = "engine: llama needs avx2, which this board does not have"
    given = demand("a", option("large", 0.99, refused=text, ms=9999), option("small", 0.5), deadline_ms=20.0)
    assert reasons(WIDE, given) == {"small": "chosen", "large": text}


def test_a_variant_below_the_minimum() -> None:
    given = demand("a", option("x", 0.81, mib=1e9), option("y", 0.95), minimum=0.9)
    assert reasons(WIDE, given)["x"] == "quality: 0.81 is below the minimum 0.9"
    errors = demand("a", option("x", 0.31), option("y", 0.05), minimum=0.3, higher_is_better=False)
    assert reasons(WIDE, errors)["x"] == "quality: 0.31 is worse than the minimum 0.3"


def test_a_deadline_excludes_the_large_variant() -> None:
    given = demand("a", option("large", 0.95, 31), option("small", 0.9, 4), deadline_ms=20.0)
    assert reasons(WIDE, given) == {"small": "chosen", "large": "deadline: 31 ms, 20 allowed"}


def test_a_variant_that_takes_more_than_one_worker() -> None:
    given = demand("a", option("large", 0.95, 130), option("small", 0.9, 4))
    assert reasons(WIDE, given)["large"] == "processor: takes 1.3 workers, 0.7 of one may be used"


def test_memory_that_others_take_names_the_two_that_take_most() -> None:
    x = demand("x", option("large", 0.9, mib=412), option("small", 0.8, mib=5))
    pumps = [demand(name, option(f"v-{name}", mib=mib), class_="safety") for name, mib in [("pump-anomaly", 320), ("b", 100), ("c", 50)]]
    alone = reasons(Limits(memory_mib=500, workers=3), x, pumps[0])
    assert alone["large"] == "memory: needs 412 MiB, 180 left after pump-anomaly"
    assert (
        reasons(Limits(memory_mib=500, workers=3), x, *pumps)["large"] == "memory: needs 412 MiB, 30 left after pump-anomaly, b and 1 more"
    )
    assert reasons(Limits(memory_mib=100, workers=3), x)["large"] == "memory: needs 412 MiB, 100 left"


def test_processor_time_that_others_take() -> None:
    x = demand("x", option("large", 0.9, 50), option("small", 0.8, 5))
    other = demand("other", option("v", ms=40), class_="safety")
    assert reasons(Limits(memory_mib=500, workers=1), x, other)["large"] == "processor: takes 0.5 workers, 0.3 left after other"


def test_what_fits_and_is_not_as_good() -> None:
    given = demand("a", option("best", 0.95, 2.2, 10), option("lower", 0.9), option("slow", 0.95, 3.1), option("vague", None))
    assert reasons(WIDE, given) == {
        "best": "chosen",
        "slow": "slower: 3.1 ms, best takes 2.2",
        "lower": "quality: 0.9, best has 0.95",
        "vague": "quality: not known, best has 0.95",
    }
    twins = demand("a", option("v", mib=10), option("w", mib=20), option("x", mib=10))
    assert reasons(WIDE, twins) == {"v": "chosen", "w": "larger: 20 MiB, v takes 10", "x": "alike: v comes first by name"}


def test_numbers_that_differ_are_shown_to_differ() -> None:
    assert pair(20.04, 20.0) == ("20.04", "20")
    assert pair(1234.5, 1234.4) == ("1,234.5", "1,234.4")
    assert [number(value) for value in (0.0, 0.00123, 3.14159, 31.4, 412.3, 12345.6)] == ["0", "0.0012", "3.1", "31", "412", "12,346"]
    assert number(float("inf")) == "inf"


def test_the_refusal_names_the_variant_that_lacks_least_and_what_and_by_how_much() -> None:
    given = demand("pump", option("large", 0.9, 300), option("small", 0.8, 31), deadline_ms=20.0)
    text = "no variant of model-pump 1 fits here for pump; nearest is small: deadline: 31 ms, 20 allowed (11 ms too much)"
    assert refused(WIDE, given) == text
    big = demand("pump", option("v", mib=412))
    assert refused(Limits(memory_mib=180, workers=3), big).endswith("nearest is v: memory: needs 412 MiB, 180 left (232 MiB short)")


def test_a_quality_minimum_that_leaves_nothing_names_the_best_variant() -> None:
    given = demand("a", option("bad", 0.5), option("better", 0.81), option("blocked", 0.99, refused="engine: no"), minimum=0.9)
    assert refused(WIDE, given).endswith("nearest is better: quality: 0.81 is below the minimum 0.9")


def test_the_nearest_miss_lacks_nothing_else_that_is_worse() -> None:
    given = demand("a", option("nearly", 0.899, mib=9000), option("far", 0.6, mib=1), minimum=0.9)
    assert "nearest is far" in refused(Limits(memory_mib=100, workers=3), given)
    assert "engine: no" in refused(WIDE, demand("a", option("v", refused="engine: no")))
    assert refused(WIDE, demand("a")).endswith("there is none")


def test_the_chosen_variant_comes_first_and_then_the_better_one() -> None:
    given = demand("a", option("low", 0.5), option("top", 0.99, 900), option("mid", 0.8))
    assert [row.variant for row in explain([given], WIDE, choose([given], WIDE))] == ["mid", "top", "low"]


def test_predicted_and_measured_stand_side_by_side() -> None:
    measured = option("v", ms=2.0, mib=7.0, predicted_ms=1.5, predicted_mib=6.0, measured=True, measured_mib=True)
    given = [demand("a", measured, option("w", 0.1))]
    first, second = answer("board", given, WIDE, choose(given, WIDE)).rows
    assert (first.predicted_ms, first.measured_ms, first.predicted_mib, first.measured_mib) == (1.5, 2.0, 6.0, 7.0)
    assert (second.measured_ms, second.measured_mib, second.code) == (None, None, "quality")


@pytest.mark.parametrize("seed", range(60))
def test_every_variant_that_is_not_chosen_has_a_reason_that_is_true(seed: int) -> None:
    chance = random.Random(seed)

    def some(number_: int) -> Option:
        quality = chance.choice([None, 0.5, 0.7, 0.9])
        return option(f"v{number_}", quality, chance.choice([1.0, 9.0, 40.0, 90.0]), chance.choice([1.0, 20.0, 60.0]))

    given = [demand(f"p{i}", *map(some, range(4)), class_=chance.choice(["safety", "normal"]), minimum=0.6) for i in range(4)]
    limits = Limits(memory_mib=chance.choice([5, 60, 100]), workers=chance.choice([0.5, 1, 2]))
    choice = choose(given, limits)
    rows = explain(given, limits, choice)
    assert len(rows) == 16
    assert {row.code for row in rows} <= {"chosen", "quality", "processor", "memory", "slower", "larger", "alike"}
    for each in given:
        taken = choice.chosen[each.pipeline]
        assert [row.variant for row in rows if row.pipeline == each.pipeline and row.chosen] == ([taken.variant] if taken else [])
    assert refusals(given, limits, choice).keys() == {name for name, taken in choice.chosen.items() if taken is None}
