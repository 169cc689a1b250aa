"""The joint choice of variants: what wins, what never does, and that nothing better is missed."""

from __future__ import annotations

import random
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.select.choose import WEIGHTS, choose, load, may_run
from edged.select.prices import Item
from edged.select.quality import UNITS, relative
from edged.select.search import search
from edged.select.terms import Demand, Limits, Option
from tests.choices import WIDE, demand, names, option


def test_the_best_quality_runs_where_everything_fits() -> None:
    assert names(choose([demand("a", option("small", 0.8), option("large", 0.9, 5, 50))], WIDE)) == {"a": "large"}


def test_two_models_compete_for_memory_and_the_better_total_wins_not_the_first_in_the_file() -> None:
    first = demand("first", option("small", 0.88, mib=10), option("large", 0.90, mib=90))
    second = demand("second", option("small", 0.50, mib=10), option("large", 0.90, mib=90))
    for order in ([first, second], [second, first]):
        assert names(choose(order, Limits(memory_mib=100, workers=3))) == {"first": "small", "second": "large"}


def test_a_deadline_excludes_the_large_variant() -> None:
    late = demand("a", option("large", 0.95, 31), option("small", 0.9, 4), deadline_ms=20.0)
    assert names(choose([late], WIDE)) == {"a": "small"}


def test_the_worst_time_is_held_against_the_deadline_not_the_usual_one() -> None:
    peaks = demand("a", option("large", 0.95, 10, worst_ms=40.0), option("small", 0.9, 4), deadline_ms=20.0)
    assert names(choose([peaks], WIDE)) == {"a": "small"}


def test_an_engine_that_the_board_lacks_the_instructions_for_is_never_chosen() -> None:
    refused = option("large", 0.99, refused="engine: llama needs asimddp, which this board does not have")
    assert names(choose([demand("a", refused, option("small", 0.5))], WIDE)) == {"a": "small"}


def test_a_quality_minimum_that_leaves_nothing_leaves_the_pipeline_without_a_variant() -> None:
    assert names(choose([demand("a", option("x", 0.81), minimum=0.9)], WIDE)) == {"a": None}


def test_a_minimum_is_a_maximum_where_less_is_better() -> None:
    errors = demand("a", option("x", 0.3), option("y", 0.1), minimum=0.2, higher_is_better=False)
    assert names(choose([errors], WIDE)) == {"a": "y"}


def test_an_unknown_quality_may_run_under_a_minimum_but_any_known_one_goes_first() -> None:
    assert names(choose([demand("a", option("x", None), minimum=0.9)], WIDE)) == {"a": "x"}
    assert names(choose([demand("a", option("x", None), option("y", 0.01, 9, 90), option("z", 0.9, 1000))], WIDE)) == {"a": "y"}


def test_equal_quality_takes_the_faster_then_the_smaller_then_the_first_name() -> None:
    assert names(choose([demand("a", option("x", ms=2, mib=1), option("y", ms=1, mib=9))], WIDE)) == {"a": "y"}
    assert names(choose([demand("a", option("x", ms=2, mib=9), option("y", ms=2, mib=1))], WIDE)) == {"a": "y"}
    assert names(choose([demand("a", option("y"), option("x"))], WIDE)) == {"a": "x"}


def test_a_pipeline_runs_on_one_worker_however_many_there_are() -> None:
    busy = demand("a", option("large", 0.9, 80), option("small", 0.8, 60))
    assert names(choose([busy], Limits(memory_mib=100, workers=8))) == {"a": "small"}


def test_the_workers_are_shared_by_all_pipelines() -> None:
    demands = [demand(name, option("large", 0.9, 60), option("small", 0.8, 10)) for name in "abc"]
    assert sorted(map(str, names(choose(demands, Limits(memory_mib=100, workers=1))).values())) == ["small"] * 3
    assert sorted(map(str, names(choose(demands, Limits(memory_mib=100, workers=2))).values())) == ["large", "large", "small"]


def test_a_safety_pipeline_is_served_before_any_number_of_others() -> None:
    others = [demand(f"n{i}", option("x", mib=10)) for i in range(5)]
    demands = [*others, demand("s", option("x", mib=60), class_="safety"), demand("b", option("x", mib=40), class_="background")]
    assert names(choose(demands, Limits(memory_mib=60, workers=3))) == {**{f"n{i}": None for i in range(5)}, "s": "x", "b": None}
    assert names(choose(demands, Limits(memory_mib=70, workers=3)))["n0"] == "x"


def test_a_better_variant_of_one_never_costs_another_its_place() -> None:
    tempting = demand("s", option("large", 1.0, mib=100), option("small", 0.01, mib=50), class_="safety")
    modest = demand("b", option("x", 0.5, mib=50), class_="background")
    assert names(choose([tempting, modest], Limits(memory_mib=100, workers=3))) == {"s": "small", "b": "x"}


def test_the_loss_of_a_safety_pipeline_weighs_more() -> None:
    safety, background = (demand(c, option("l", 1.0, mib=90), option("s", 0.8, mib=10), class_=c) for c in ("safety", "background"))
    assert names(choose([background, safety], Limits(memory_mib=100, workers=3))) == {"background": "s", "safety": "l"}


def test_the_reading_rate_rises_and_the_choice_moves_down_once_not_back_and_forth() -> None:
    chosen = []
    for rate in range(1, 200):
        each = demand("a", option("large", 0.9, 30), option("middle", 0.85, 12), option("small", 0.8, 4), windows_per_s=float(rate))
        chosen.append(names(choose([each], WIDE))["a"])
    changes = [(before, after) for before, after in pairwise(chosen) if before != after]
    assert changes == [("large", "middle"), ("middle", "small"), ("small", None)]


def test_nothing_to_choose_from_is_no_fault() -> None:
    assert names(choose([], WIDE)) == {}
    assert names(choose([demand("a")], WIDE)) == {"a": None}


@pytest.mark.parametrize("ms", [float("nan"), float("inf"), -1.0])
def test_a_time_that_is_no_time_is_never_chosen(ms: float) -> None:
    assert names(choose([demand("a", option("x", 1.0, ms), option("y", 0.1))], WIDE)) == {"a": "y"}
    assert names(choose([demand("a", option("x", 1.0, mib=ms), option("y", 0.1))], WIDE)) == {"a": "y"}


def test_relative_quality_of_scores_errors_negatives_and_unknowns() -> None:
    def of(*qualities: float | None, higher: bool = True) -> list[float]:
        shares = relative(demand("a", *(option(str(i), quality) for i, quality in enumerate(qualities)), higher_is_better=higher))
        return [share / UNITS for share in shares]

    assert of(0.8, 0.4) == [1.0, 0.5]
    assert of(0.1, 0.4, higher=False) == [1.0, 0.25]
    assert of(-3.0, 0.0, 1.0) == [0.5, 0.875, 1.0]
    assert of(0.0, 5.0, higher=False) == [1.0, 0.5]
    assert of(0.8, None, 0.4, float("nan"), float("inf")) == [1.0, 0.25, 0.5, 0.25, 0.25]
    assert of(None, None) == [1.0, 1.0]
    assert of(0.0) == of(-7.0) == [1.0]


@given(st.lists(st.none() | st.floats(), min_size=1, max_size=8), st.booleans())
def test_a_better_quality_is_never_relatively_worse(qualities: list[float | None], higher: bool) -> None:
    shares = relative(demand("a", *(option(str(i), quality) for i, quality in enumerate(qualities)), higher_is_better=higher))
    assert all(1 <= share <= UNITS for share in shares)
    known = sorted((q if higher else -q, share) for q, share in zip(qualities, shares) if q is not None and abs(q) <= 1e100)
    assert [share for _, share in known] == sorted(share for _, share in known)


QUALITIES = st.none() | st.sampled_from([0.5, 0.7, 0.9, 0.9000001, -1.0, 0.0])
OPTIONS = st.builds(
    lambda quality, ms, mib: ("", quality, ms, mib),
    QUALITIES,
    st.sampled_from([0.0, 1.0, 5.0, 20.0, 33.3, 70.0, 90.0]),
    st.sampled_from([0.0, 1.0, 10.0, 25.5, 60.0]),
)
DEMANDS = st.lists(
    st.tuples(
        st.lists(OPTIONS, max_size=4), st.sampled_from(sorted(WEIGHTS)), st.sampled_from([0.0, 1.0, 10.0]), st.booleans(), st.booleans()
    ),
    max_size=5,
)


def made(drawn: list[tuple[list[tuple[str, float | None, float, float]], str, float, bool, bool]]) -> list[Demand]:
    return [
        demand(
            f"p{i}",
            *(option(f"v{j}", quality, ms, mib) for j, (_, quality, ms, mib) in enumerate(options)),
            class_=class_,
            windows_per_s=rate,
            higher_is_better=higher,
            minimum=0.6 if bounded else None,
        )
        for i, (options, class_, rate, higher, bounded) in enumerate(drawn)
    ]


def worth(demands: list[Demand], chosen: tuple[Option | None, ...]) -> tuple[float, ...]:
    """Give what the issue orders sets of options by, the larger the better."""
    served = [sum(c is not None and d.class_ == class_ for d, c in zip(demands, chosen)) for class_ in ("safety", "normal", "background")]
    quality = sum(WEIGHTS[d.class_] * relative(d)[d.options.index(c)] for d, c in zip(demands, chosen) if c)
    time = sum(round(load(d, c) * 1e9) for d, c in zip(demands, chosen) if c)
    return *served, quality, -time, -sum(round(c.mib * 1024) for c in chosen if c)


def is_possible(demands: list[Demand], chosen: tuple[Option | None, ...], limits: Limits) -> bool:
    alone = all(c is None or may_run(d, c, limits) for d, c in zip(demands, chosen))
    memory = sum(round(c.mib * 1024) for c in chosen if c) <= limits.memory_mib * 1024
    return alone and memory and sum(round(load(d, c) * 1e9) for d, c in zip(demands, chosen) if c) <= limits.share * limits.workers * 1e9


@settings(max_examples=150, deadline=None)
@given(DEMANDS, st.sampled_from([0.0, 20.0, 60.0, 100.0, 200.0]), st.sampled_from([0.0, 0.3, 1.0, 2.0]), st.randoms(use_true_random=False))
def test_no_set_of_variants_is_better_than_the_one_chosen(
    drawn: list[tuple[list[tuple[str, float | None, float, float]], str, float, bool, bool]],
    memory: float,
    workers: float,
    shuffle: random.Random,
) -> None:
    demands, limits = made(drawn), Limits(memory_mib=memory, workers=workers)
    choice = choose(demands, limits)
    ours = tuple(choice.chosen[d.pipeline] for d in demands)
    assert choice.exact
    assert is_possible(demands, ours, limits)
    sets = product(*([None, *d.options] for d in demands))
    assert worth(demands, ours) == max(worth(demands, each) for each in sets if is_possible(demands, each, limits))
    mixed = [Demand(**{**vars(d), "options": tuple(shuffle.sample(d.options, len(d.options)))}) for d in demands]
    shuffle.shuffle(mixed)
    assert names(choose(mixed, limits)) == names(choice)


@pytest.mark.parametrize("tight", [0.1, 0.5])
def test_sixty_four_pipelines_of_six_variants_are_chosen_exactly(tight: float) -> None:
    chance = random.Random(1)

    def variant(number: int) -> Option:
        quality = chance.uniform(0.5, 1.0)
        return option(str(number), quality, 40 * quality**6 * chance.uniform(0.5, 1.5), 40 * quality**6 * chance.uniform(0.5, 1.5))

    demands = [demand(str(i), *(variant(j) for j in range(6)), class_=chance.choice([*WEIGHTS])) for i in range(64)]
    most_ms, most_mib = (sum(max(getattr(o, what) for o in d.options) for d in demands) for what in ("ms", "mib"))
    limits = Limits(memory_mib=most_mib * tight, workers=most_ms / 100 * tight / 0.7)
    choice = choose(demands, limits)
    assert choice.exact
    assert None not in choice.chosen.values()


def test_a_search_that_would_not_end_stops_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.select.search._WIDEST", 64)
    chance = random.Random(5)
    sizes = [[chance.randrange(10**6) for _ in range(6)] for _ in range(24)]
    groups = [[Item(size + 10**5, size, chance.randrange(10**6)) for size in group] for group in sizes]
    half = sum(max(group) for group in sizes) // 2
    found = search(groups, half, half)
    assert not found.exact
    assert sum(groups[i][n].time for i, n in enumerate(found.taken) if n is not None) <= half
