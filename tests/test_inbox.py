"""The queue before a pipeline: each policy, counted exactly."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config.schema import Queue
from edged.records import Batch
from edged.stream.inbox import HELD_BYTES, Inbox
from tests.waiting import PATIENCE_S


def batch(names: str, done=None) -> Batch:
    return Batch([name.encode() for name in names], [name.encode() for name in names], 0, 0, done)


def inbox(size: int, full: str) -> Inbox:
    return Inbox(Queue(size=size, full=full), lambda: None)


def everything(box: Inbox) -> str:
    out = ""
    while (taken := box.take()) is not None:
        out += b"".join(taken.topics).decode()
    return out


@pytest.mark.parametrize(
    ("full", "left", "dropped"),
    [("drop-oldest", "defg", 3), ("drop-newest", "abcd", 3), ("latest", "defg", 3)],
)
def test_a_full_queue_lets_go_by_its_policy(full, left, dropped):
    box = inbox(4, full)
    for names in ("ab", "cd", "efg"):
        box.put(batch(names))
    assert everything(box) == left
    assert box.dropped == dropped
    assert box.waiting == 0


def test_latest_keeps_the_newest_message_of_each_topic():
    box = inbox(4, "latest")
    for names in ("abab", "ca"):
        box.put(batch(names))
    assert everything(box) == "bca"
    assert box.dropped == 3


def test_block_makes_the_source_wait_until_there_is_room():
    box = inbox(2, "block")
    box.put(batch("ab"))
    second = threading.Thread(target=box.put, args=(batch("c"),))
    second.start()
    assert box.waiting == 2
    assert box.take().topics == [b"a", b"b"]
    second.join(PATIENCE_S)
    assert everything(box) == "c"
    assert box.dropped == 0


def test_closing_lets_a_waiting_source_go():
    box = inbox(1, "block")
    box.put(batch("a"))
    answers = []
    second = threading.Thread(target=lambda: answers.append(box.put(batch("b"))))
    second.start()
    box.close()
    second.join(PATIENCE_S)
    assert answers == [False]
    assert box.put(batch("c")) is False


def test_a_batch_that_is_let_go_counts_as_worked_off():
    done = []
    box = inbox(2, "drop-oldest")
    box.put(batch("ab", lambda: done.append("first")))
    box.put(batch("cd", lambda: done.append("second")))
    assert done == ["first"]


@given(st.sampled_from(["drop-oldest", "drop-newest", "latest"]), st.integers(1, 6), st.lists(st.text("abc", max_size=9), max_size=12))
def test_what_went_in_came_out_or_was_counted(full, size, puts):
    box = inbox(size, full)
    for names in puts:
        box.put(batch(names))
        assert box.waiting <= size
    out = everything(box)
    assert len(out) + box.dropped == sum(map(len, puts))


def from_broker(names: str, connection: int, size: int = 0) -> Batch:
    made = batch(names, lambda: None)
    made.connection, made.size = connection, size
    return made


def test_what_came_on_an_earlier_connection_is_forgotten_when_the_broker_sends_it_again():
    box = inbox(10, "block")
    for each in (from_broker("ab", 1), batch("c"), from_broker("d", 2)):
        box.put(each)
    box.forget_before(2)
    assert box.waiting == 2
    assert everything(box) == "cd"
    assert box.dropped == 0


def test_a_broker_is_turned_away_when_it_sends_more_than_is_held_in_memory():
    box = inbox(1, "block")
    assert box.put(from_broker("a", 1, HELD_BYTES // 2))
    assert box.put(from_broker("b", 1, HELD_BYTES // 2))
    assert not box.put(from_broker("c", 1, 1))
    assert box.overfull
    box.take()
    assert not box.overfull
    assert (everything(box), box.dropped) == ("b", 0)
