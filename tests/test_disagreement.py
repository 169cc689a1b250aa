"""Which live verdict a candidate's is held against, and when two verdicts disagree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.stream import disagreement
from edged.stream.disagreement import BLOCK, Standing, Tally
from edged.stream.seen import Seen


def seen(end: int, said: object = None, name: bytes = b"a") -> Seen:
    return Seen(name, end, {"said": end if said is None else said}, 1)


def said(standing: Standing, end: int, name: bytes = b"a") -> object:
    found = standing.match(name, end)
    return found and found.output["said"]


def test_the_same_end_comes_before_the_newest_one_before_it() -> None:
    standing = Standing()
    standing.take([seen(10), seen(20), seen(30, name=b"b")])
    assert [said(standing, end) for end in (9, 10, 19, 20, 35)] == [None, 10, 10, 20, 20]
    assert said(standing, 30, b"b") == 30
    assert said(standing, 30, b"c") is None


def test_the_last_one_stays_for_later_batches() -> None:
    standing = Standing()
    standing.take([seen(10), seen(20)])
    standing.take([seen(5, name=b"b")])
    standing.take([])
    assert [said(standing, end) for end in (19, 20, 99)] == [None, 20, 20]
    standing.clear()
    assert said(standing, 99) is None


def test_windows_that_end_at_once_are_paired_in_their_order() -> None:
    standing = Standing()
    standing.take([seen(10, "earlier")])
    standing.take([seen(10, turn) for turn in range(3)])
    assert [said(standing, 10) for _ in range(4)] == [0, 1, 2, 2]


def test_after_a_clock_that_was_set_back_the_last_one_counts_not_the_latest() -> None:
    standing = Standing()
    standing.take([seen(1000), seen(1010), seen(5), seen(7)])
    assert [said(standing, end) for end in (1012, 8, 6)] == [1010, 7, 5]
    standing.take([])
    assert said(standing, 9) == 7


def test_streams_heard_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disagreement, "REMEMBERED", 2)
    standing = Standing()
    for name in (b"a", b"b", b"a", b"c", b"d"):
        standing.take([seen(1, name=name)])
    standing.take([])
    assert [said(standing, 2, name) for name in (b"a", b"b", b"c", b"d")] == [None, None, 1, 1]


@given(batches=st.lists(st.lists(st.integers(0, 30), max_size=8, unique=True).map(sorted), max_size=4), ask=st.integers(0, 150))
def test_of_any_rising_ends_it_is_the_newest_not_after(batches: list[list[int]], ask: int) -> None:
    standing, known = Standing(), []
    for turn, ends in enumerate(batches):
        standing.take([seen(turn * 31 + end) for end in ends])
        known += [turn * 31 + end for end in ends]
        before = [end for end in known if end < turn * 31][-1:]  # of earlier batches only the last is kept
        usable = [end for end in before + [end for end in known if end >= turn * 31] if end <= ask]
        assert said(standing, ask) == (usable[-1] if usable else None)


@pytest.mark.parametrize(
    ("task", "live", "candidate", "disagreed"),
    [
        ("classify", {"label": "a", "score": 0.9}, {"label": "a", "score": 0.5}, 0),
        ("classify", {"label": "a"}, {"label": "b"}, 1),
        ("anomaly", {"anomaly": False, "score": 1.0}, {"anomaly": False, "score": 3.0}, 0),
        ("anomaly", {"anomaly": False}, {"anomaly": True}, 1),
    ],
)
def test_labels_and_flags_agree_where_they_are_the_same(task: str, live: dict[str, Any], candidate: dict[str, Any], disagreed: int) -> None:
    tally = Tally(task)
    tally.add(live, candidate)
    assert (tally.compared, tally.disagreed) == (1, disagreed)


@pytest.mark.parametrize(
    ("task", "live", "candidate"),
    [
        ("classify", {"anomaly": True}, {"label": "b"}),
        ("regress", {"label": "a"}, {"values": [1.0]}),
        ("regress", {"values": [1.0, 2.0]}, {"values": [1.0]}),
    ],
)
def test_what_cannot_be_compared_is_passed_by(task: str, live: dict[str, Any], candidate: dict[str, Any]) -> None:
    tally = Tally(task)
    tally.add(live, candidate)
    assert (tally.compared, tally.disagreed) == (0, 0)


def test_each_value_has_its_own_range() -> None:
    tally = Tally("regress")
    for live, candidate in [
        ([0.0, 0.0], [0.0, 0.0]),
        ([1000.0, 1.0], [1040.0, 1.04]),
        ([0.0, 0.0], [0.0, 0.06]),
        ([0.0, 0.0], [60.0, 0.0]),
    ]:
        tally.add({"values": live}, {"values": candidate})
    assert (tally.compared, tally.disagreed) == (4, 2)


def test_a_vector_has_one_range() -> None:
    tally = Tally("embed")
    for live, candidate in [([0.0, 10.0], [0.4, 10.0]), ([0.0, 10.0], [0.0, 9.4])]:
        tally.add({"vector": live}, {"vector": candidate})
    assert (tally.compared, tally.disagreed) == (2, 1)


def test_the_first_windows_are_judged_by_the_range_of_more_than_themselves() -> None:
    tally = Tally("regress")
    for i in range(BLOCK + 1):
        tally.add({"values": [float(i)]}, {"values": [i + 1.0]})
    assert (tally.compared, tally.disagreed) == (BLOCK + 1, 0)
    tally.add({"values": [0.0]}, {"values": [1.7]})
    assert tally.disagreed == 1


def test_of_a_value_that_never_moves_the_last_digit_does_not_count() -> None:
    tally = Tally("regress")
    tally.add({"values": [123.456]}, {"values": [123.457]})
    assert tally.disagreed == 0
    tally.add({"values": [123.456]}, {"values": [123.46]})
    assert tally.disagreed == 1
