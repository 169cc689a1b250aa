"""The simulation of a configuration: queues, workers and deadlines, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from edged.select.arrivals import Arrival, Cutter, recorded, steady
from edged.select.simulate import Ran, Work, simulate

PLAIN = Work(
    pipeline="p",
    class_="normal",
    deadline_ms=100,
    window_ms=10,
    worst_ms=10,
    batch_ms=0,
    message_ms=0,
    result_ms=0,
    queue=1024,
    full="block",
)


def every(seconds: float, until: float, windows: int = 1, start: float = 0.0, streams: int = 1) -> list[Arrival]:
    return [Arrival(start + i * seconds, i % streams, windows) for i in range(int((until - start) / seconds))]


def run(*works: Work, workers: int = 1, seconds: float = 10) -> tuple[list[Ran], list[float]]:
    return simulate(works, workers, seconds, Random(1))


def test_a_pipeline_that_has_time_takes_what_its_windows_take() -> None:
    (ran,), (busy,) = run(replace(PLAIN, arrivals=every(0.1, 10), result_ms=2, message_ms=1, batch_ms=3))
    assert (ran.results, ran.late, ran.dropped, ran.waiting) == (100, 0, {}, 0)
    assert ran.p50_ms == pytest.approx(16, rel=0.05)
    assert busy == pytest.approx(0.16, rel=0.05)


def test_messages_that_complete_no_window_take_time_and_give_no_result() -> None:
    (ran,), (busy,) = run(replace(PLAIN, arrivals=every(0.01, 10, windows=0), message_ms=1))
    assert (ran.messages, ran.results, ran.p50_ms) == (1000, 0, None)
    assert busy == pytest.approx(0.1, rel=0.05)


def test_a_source_that_can_wait_loses_nothing_and_its_results_are_late() -> None:
    (ran,), (busy,) = run(replace(PLAIN, arrivals=every(0.005, 10)))
    assert ran.dropped == {}
    assert ran.waiting == pytest.approx(1000, rel=0.1)
    assert ran.late > 500
    assert busy == pytest.approx(1.0)


@pytest.mark.parametrize("full", ["drop-oldest", "drop-newest"])
def test_a_full_queue_drops_what_is_too_much(full: str) -> None:
    (ran,), _ = run(replace(PLAIN, arrivals=every(0.005, 10), queue=10, full=full))
    assert ran.dropped["queue-full"] == pytest.approx(1000, rel=0.1)
    assert ran.most_waiting == 10
    assert 0 <= ran.messages - ran.results - ran.dropped["queue-full"] - ran.waiting <= 2  # in the worker's hands at the end


def test_the_rule_latest_keeps_the_newest_message_of_each_stream() -> None:
    (ran,), _ = run(replace(PLAIN, arrivals=every(0.001, 10, streams=3), queue=5, full="latest"))
    assert ran.most_waiting <= 5
    assert ran.p99_ms is not None
    assert ran.p99_ms < 150


def test_safety_goes_first_on_a_worker_that_has_too_much_to_do() -> None:
    background = replace(PLAIN, pipeline="b", class_="background", arrivals=every(0.005, 10), full="drop-oldest", queue=20)
    safety = replace(PLAIN, pipeline="s", class_="safety", arrivals=every(0.1, 10, start=0.05))
    (first, second), _ = run(background, safety)
    assert first.dropped
    assert (second.late, second.dropped) == (0, {})


def test_pipelines_go_to_the_worker_with_the_fewest_as_in_the_daemon() -> None:
    works = [replace(PLAIN, pipeline=str(i), arrivals=every(0.1, 10)) for i in range(5)]
    ran, busy = run(*works, workers=2)
    assert [each.worker for each in ran] == [0, 1, 0, 1, 0]
    assert busy == [pytest.approx(0.3, rel=0.05), pytest.approx(0.2, rel=0.05)]
    assert len(run(PLAIN, workers=4)[1]) == 1


def test_results_of_a_pipeline_feed_the_next_one() -> None:
    first = replace(PLAIN, pipeline="a", arrivals=every(0.1, 10))
    second = replace(PLAIN, pipeline="b", after="a", samples=4, hop=2)
    (_, ran), _ = run(first, second)
    assert (ran.messages, ran.results) == (100, 49)


def test_messages_that_came_together_are_one_batch() -> None:
    together = [Arrival(i // 10 * 0.1, 0, 0) for i in range(1000)]
    (_,), (busy,) = run(replace(PLAIN, arrivals=together, batch_ms=10, message_ms=1))
    # The first of ten finds an idle worker; the other nine wait for it, together.
    assert busy == pytest.approx((2 * 10 + 10) / 100, rel=0.05)


def test_the_same_seed_gives_the_same_and_the_spread_is_that_of_the_measurement() -> None:
    work = replace(PLAIN, worst_ms=20, arrivals=every(0.1, 1000))
    first, again = run(work, seconds=1000), run(work, seconds=1000)
    assert first == again
    assert first[0][0].p50_ms == pytest.approx(10, rel=0.05)
    assert first[0][0].p95_ms == pytest.approx(20, rel=0.1)


def test_windows_are_cut_as_by_the_daemon() -> None:
    cutter = Cutter(samples=260, hop=130)
    assert [cutter.windows(0, 1) for _ in range(520)].count(1) == 3
    assert Cutter(260, 130).windows(0, 1000) == 6
    assert Cutter(2, 5).windows(0, 7) == 2
    assert Cutter(5, 0).windows(0, 5) == 1


def test_steady_streams_have_their_rate_and_begin_amid_windows() -> None:
    arrivals = steady(rate=26, streams=20, samples=260, hop=130, seconds=100, rng=Random(2))
    assert len(arrivals) == pytest.approx(26 * 20 * 100, rel=0.01)
    assert sum(each.windows for each in arrivals) == pytest.approx(20 * 100 * 26 / 130, rel=0.05)
    assert any(each.windows for each in arrivals if each.at_s < 5)
    assert arrivals == sorted(arrivals, key=lambda each: each.at_s)


def test_recorded_messages_keep_their_times_and_streams() -> None:
    arrivals = recorded([(0.0, "a", 2), (0.5, "b", 2), (1.0, "a", 2), (2.0, "a", 0), (99.0, "a", 4)], samples=4, hop=2, seconds=10)
    assert arrivals == [Arrival(0.0, 0, 0), Arrival(0.5, 1, 0), Arrival(1.0, 0, 1), Arrival(2.0, 0, 0)]
