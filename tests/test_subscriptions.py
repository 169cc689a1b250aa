"""What a broker refuses for a moment is asked for again, until it stands."""

from __future__ import annotations

from edged.clock import NS
from edged.mqtt.subscriptions import REFUSED_NS, Subscriptions


def test_a_filter_keeps_the_highest_qos_that_was_asked_for() -> None:
    filters = Subscriptions()
    assert filters.add("a/+", 1) == 1
    assert filters.add("a/+") == 1
    filters.add("b", 0)
    assert filters.all() == [("a/+", 1), ("b", 0)]


def test_what_was_refused_is_due_after_a_while_once_for_each_refusal() -> None:
    filters = Subscriptions()
    filters.add("a", 1)
    filters.add("b", 1)
    now = 10 * NS
    assert not filters.is_due(now)
    assert not filters.answered(2, True, now)
    assert not filters.is_due(now + REFUSED_NS)
    assert filters.is_due(now + REFUSED_NS + 1)
    assert not filters.is_due(now + 2 * REFUSED_NS)
    assert not filters.answered(2, True, now + 2 * REFUSED_NS)
    assert filters.is_due(now + 4 * REFUSED_NS)
    assert filters.answered(2, False, now + 4 * REFUSED_NS)


def test_a_yes_to_one_filter_says_nothing_of_the_others() -> None:
    filters = Subscriptions()
    filters.add("a", 1)
    filters.add("b", 1)
    filters.answered(2, True, NS)
    assert not filters.answered(1, False, NS)
    assert filters.is_due(NS + REFUSED_NS + 1)
