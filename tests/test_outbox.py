"""The outbox: nothing lost, the order of each stream, few in flight; with a disk that the test drives by hand."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import NS, VirtualClock
from edged.hold import Hold
from edged.mqtt.message import Message
from edged.mqtt.outbox import AWAY_AFTER_NS, MUTE_AFTER_NS, Outbox
from edged.mqtt.waiting import LIMIT

CHUNK = 3


class Paper:
    """A disk that does what it was asked for when the test says so."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.rows: dict[int, Message] = {}  # committed
        self.pending: dict[int, Message] = {}
        self.deleted: set[int] = set()
        self.fetches: list[int] = []
        self.crowded = False
        self.written = 0
        self._next = 1
        outbox.attach(self)

    def keep(self, message: Message) -> int:
        self.pending[self._next] = message
        self._next += 1
        return self._next - 1

    def gone(self, row: int) -> None:
        self.deleted.add(row)

    def fetch(self, after: int) -> None:
        self.fetches.append(after)

    def commit(self) -> None:
        """Write, delete, and answer who asked."""
        pending, self.pending = self.pending, {}
        for row, message in pending.items():
            self.rows[row] = message
            self.written += 1
            self.outbox.kept(message)
        for row in self.deleted & self.rows.keys():
            del self.rows[row]
        fetches, self.fetches = self.fetches, []
        for after in fetches:
            found = sorted(row for row in self.rows if row > after)[:CHUNK]
            copies = [_copy(self.rows[row], row) for row in found]
            self.outbox.feed(copies, after, found[-1] if found else self._next - 1)


def _copy(message: Message, row: int) -> Message:
    return Message(message.topic, message.payload, stream=message.stream, row=row)


class Way:
    """An outbox, its disk, and what was handed over to a broker that never answers by itself."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.sent: list[Message] = []
        self.in_flight: dict[int, Message] = {}
        self.outbox = Outbox(self._hand_over, self.clock)
        self.disk = Paper(self.outbox)

    def _hand_over(self, message: Message) -> int:
        self.sent.append(message)
        self.in_flight[len(self.sent)] = message
        return len(self.sent)

    def put(self, payload: str, stream: int = 1, durable: bool = False, hold: Hold | None = None) -> None:
        self.outbox.put(Message("t", payload.encode(), stream=stream, durable=durable, hold=hold))

    def answer(self, mid: int = 0) -> None:
        mid = mid or min(self.in_flight)
        del self.in_flight[mid]
        self.outbox.over(mid)

    def payloads(self) -> list[str]:
        return [message.payload.decode() for message in self.sent]


@pytest.fixture
def way() -> Way:
    return Way()


def test_nothing_is_written_while_the_broker_acknowledges(way: Way) -> None:
    way.outbox.open(2)
    for i in range(50):
        way.put(str(i))
        if way.in_flight:
            way.answer()
    way.clock.advance(10 * NS)
    way.outbox.look()
    way.disk.commit()
    assert way.disk.written == 0
    assert way.payloads()[:3] == ["0", "1", "2"]


def test_a_durable_message_is_written_and_deleted_when_it_is_acknowledged(way: Way) -> None:
    way.outbox.open(2)
    way.put("a", durable=True)
    assert way.payloads() == ["a"]
    way.disk.commit()
    assert len(way.disk.rows) == 1
    way.answer()
    way.disk.commit()
    assert way.disk.rows == {}


def test_what_waits_goes_to_disk_when_the_connection_ends_and_comes_back_in_order(way: Way) -> None:
    way.outbox.open(1)
    for name in "abc":
        way.put(name)
    way.outbox.close()
    way.put("d")
    way.disk.commit()
    assert sorted(message.payload for message in way.disk.rows.values()) == [b"a", b"b", b"c", b"d"]
    way.outbox.open(1)
    for _ in range(8):
        way.disk.commit()
        if way.in_flight:
            way.answer()
    assert way.payloads() == ["a", "b", "c", "d"]
    assert way.disk.rows == {}


def test_a_new_message_of_a_stream_waits_for_old_ones_and_one_of_another_stream_does_not(way: Way) -> None:
    way.put("old", stream=1)
    way.outbox.close()
    way.outbox.open(9)
    way.put("new", stream=1)
    way.put("other", stream=2)
    assert way.payloads() == ["other"]
    way.disk.commit()
    assert way.payloads() == ["other", "old", "new"]


def test_three_of_four_places_are_for_new_messages_while_old_ones_wait(way: Way) -> None:
    for i in range(30):
        way.put(f"old{i}", stream=1)
    way.outbox.close()
    way.outbox.open(0)
    way.disk.commit()
    for i in range(30):
        way.put(f"new{i}", stream=2)
    way.outbox.open(4)
    for _ in range(20):
        way.disk.commit()
        way.answer()
    shares = [payload[:3] for payload in way.payloads()[:20]]
    assert shares.count("new") == 15
    assert [p for p in way.payloads() if p.startswith("old")] == [f"old{i}" for i in range(5)] or shares.count("old") >= 5


def test_a_broker_that_acknowledges_nothing_gets_no_more_and_the_rest_goes_to_disk(way: Way) -> None:
    done: list[int] = []
    way.outbox.open(2)
    for i in range(5):
        way.put(str(i), hold=Hold(lambda i=i: done.append(i)))  # type: ignore[misc]
    way.clock.advance(MUTE_AFTER_NS + 1)
    assert way.outbox.look() > MUTE_AFTER_NS
    assert way.outbox.mute
    way.put("5")
    way.disk.commit()
    assert done == [0, 1, 2, 3, 4]
    assert len(way.disk.rows) == 6
    way.outbox.close()
    way.outbox.open(2)
    way.outbox.look()
    assert way.outbox.mute  # a new connection alone proves nothing
    way.answer()
    way.outbox.look()
    assert not way.outbox.mute


def test_a_broker_that_never_came_keeps_nothing_in_memory(way: Way) -> None:
    way.put("a")
    way.outbox.look()
    assert way.disk.pending == {}
    way.clock.advance(AWAY_AFTER_NS + 1)
    way.outbox.look()
    way.disk.commit()
    assert (len(way.disk.rows), way.outbox.waiting, way.outbox.behind) == (1, 0, 1)


def test_what_an_earlier_run_left_goes_first(way: Way) -> None:
    way.disk.keep(Message("t", b"old", stream=1))
    way.disk.commit()
    way.outbox.found({1: 1}, 1)
    way.outbox.open(9)
    way.put("new", stream=1)
    way.disk.commit()
    assert way.payloads() == ["old", "new"]


def test_a_message_that_the_disk_refuses_is_counted_and_lets_its_sender_go(way: Way) -> None:
    done: list[int] = []
    way.outbox.close()
    way.put("a", hold=Hold(lambda: done.append(1)))
    [(row, message)] = way.disk.pending.items()
    way.outbox.refused(message, row, "spool-full")
    assert (done, way.outbox.dropped, way.outbox.behind) == ([1], {"spool-full": 1}, 0)


def test_a_durable_message_that_the_disk_refuses_is_still_sent(way: Way) -> None:
    done: list[int] = []
    way.put("a", durable=True, hold=Hold(lambda: done.append(1)))
    [(row, message)] = way.disk.pending.items()
    way.outbox.refused(message, row, "spool-full")
    assert (done, way.outbox.dropped) == ([], {})
    way.outbox.open(1)
    way.answer()
    assert done == [1]


def test_a_row_that_made_room_is_counted_only_where_it_was_the_last_copy(way: Way) -> None:
    way.outbox.open(1)
    way.put("sent", durable=True)
    way.outbox.close()
    way.put("waits")
    way.disk.commit()
    for row in sorted(way.disk.rows):
        way.outbox.lost(row, 1, "spool-full")
    assert way.outbox.dropped == {"spool-full": 1}


def test_without_a_disk_the_oldest_gives_way() -> None:
    outbox = Outbox(lambda _: 0, VirtualClock())
    for i in range(LIMIT + 3):
        outbox.put(Message("t", b"%d" % i))
    assert (outbox.waiting, outbox.dropped) == (LIMIT, {"outbox-full": 3})


def test_an_unsent_message_is_sent_again_from_disk(way: Way) -> None:
    """QoS 0: the connection ended before it was written."""
    way.outbox.open(3)
    way.put("a")
    way.put("b")
    way.outbox.close()
    way.disk.commit()
    way.outbox.unsent(1)
    way.answer(2)
    way.outbox.open(3)
    way.disk.commit()
    assert way.payloads() == ["a", "b", "a"]
    assert way.outbox.dropped == {}


@given(seed=st.integers(0, 2**32), streams=st.integers(1, 4), window=st.integers(1, 6), steps=st.integers(10, 200))
def test_whatever_happens_nothing_is_lost_and_each_stream_keeps_its_order(seed: int, streams: int, window: int, steps: int) -> None:
    rng, way = random.Random(seed), Way()
    made: dict[int, int] = defaultdict(int)
    held, freed = 0, []
    for _ in range(steps):
        step = rng.choice(["put"] * 6 + ["answer"] * 4 + ["commit"] * 3 + ["close", "open", "mute"])
        if step == "put":
            stream = rng.randint(1, streams)
            made[stream] += 1
            held += 1
            way.put(f"{stream} {made[stream]}", stream, stream % 2 == 0, Hold(lambda: freed.append(1)))
        elif step == "answer" and way.in_flight:
            way.answer(rng.choice(list(way.in_flight)))  # in any order
        elif step == "commit":
            way.disk.commit()
        elif step == "close":
            way.outbox.close()
        elif step == "open":
            way.outbox.open(window)
        elif step == "mute":
            way.clock.advance(MUTE_AFTER_NS + 1)
            way.outbox.look()
    way.outbox.open(window)
    while way.in_flight or way.outbox.waiting or way.outbox.behind:
        way.disk.commit()
        for mid in list(way.in_flight):
            way.answer(mid)
    way.disk.commit()
    way.disk.commit()
    order: dict[int, list[int]] = defaultdict(list)
    for payload in way.payloads():
        stream, number = map(int, payload.split())
        order[stream].append(number)
    assert {stream: list(range(1, count + 1)) for stream, count in made.items()} == dict(order)
    assert (len(freed), way.disk.rows, way.outbox.dropped) == (held, {}, {})
