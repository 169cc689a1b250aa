"""What comes from the fleet and waits: bounded, sorted, counted, whatever comes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import VirtualClock
from edged.exchange.desired import MAX_DESIRED_BYTES
from edged.exchange.targets import MAX_TARGETS_BYTES
from edged.fleet.mailbox import MOST_BYTES, Mailbox
from edged.mqtt.topics import DeviceTopics

BASE = "edged/1/plant-a"


def mailbox() -> Mailbox:
    return Mailbox(DeviceTopics("plant-a", "press-7"), ["line-3"], VirtualClock(), lambda: None)


def test_metadata_and_documents_are_kept_under_their_names() -> None:
    box = mailbox()
    box.put(f"{BASE}/_repo/timestamp".encode(), b"t", True)
    box.put(f"{BASE}/_repo/root/2".encode(), b"r", True)
    box.put(f"{BASE}/press-7/desired".encode(), b"d", True)
    box.put(f"{BASE}/_grp/line-3/desired".encode(), b"g", True)
    assert (box.metadata("timestamp"), box.metadata("root/2")) == (b"t", b"r")
    assert (box.desired("dev:press-7"), box.desired("group:line-3")) == (b"d", b"g")
    assert box.dropped == {}


def test_an_empty_message_takes_away() -> None:
    box = mailbox()
    for topic in ("_repo/timestamp", "press-7/desired"):
        box.put(f"{BASE}/{topic}".encode(), b"x", True)
        box.put(f"{BASE}/{topic}".encode(), b"", False)
    assert box.metadata("timestamp") is None
    assert box.desired("dev:press-7") is None


def test_what_is_for_others_is_dropped_and_counted() -> None:
    box = mailbox()
    for topic in ("press-8/desired", "_grp/line-9/desired", "_repo/../x", "press-7/status", "_repo/root/0", "_grp/line-3/other"):
        box.put(f"{BASE}/{topic}".encode(), b"x", True)
    box.put(b"edged/1/plant-b/press-7/desired", b"x", True)
    box.put(b"\xff\xfe", b"x", True)
    assert box.dropped == {"unasked": 8}
    assert box.changed_at == 0


def test_retained_command_is_dropped_and_counted() -> None:
    box = mailbox()
    box.put(f"{BASE}/press-7/cmd/refresh/1".encode(), b"{}", True)
    assert box.take_commands() == []
    assert box.dropped == {"retained-command": 1}
    box.put(f"{BASE}/press-7/cmd/refresh/1".encode(), b"{}", False)
    assert [(each.op, each.id) for each in box.take_commands()] == [("refresh", "1")]


def test_endless_data_does_not_fill_the_memory() -> None:
    box = mailbox()
    for number in range(1, 400):
        for role, size in (("targets", MAX_TARGETS_BYTES), ("snapshot", 60_000), ("root", 60_000)):
            box.put(f"{BASE}/_repo/{role}/{number}".encode(), bytes(size), False)
        box.put(f"{BASE}/press-7/cmd/refresh/{number}".encode(), bytes(4000), False)
    box.put(f"{BASE}/_repo/timestamp".encode(), None, True)
    box.put(f"{BASE}/_repo/timestamp".encode(), bytes(20_000), True)
    box.put(f"{BASE}/press-7/desired".encode(), bytes(MAX_DESIRED_BYTES + 1), True)
    assert sum(map(len, box._metadata.values())) <= MOST_BYTES
    assert box.metadata("targets/399") is not None  # the newest is there
    assert len(box.take_commands()) <= 64
    assert {"metadata-too-large", "desired-too-large", "too-many-commands"} <= box.dropped.keys()


def test_the_same_again_is_no_news_but_shows_that_a_publisher_is_there() -> None:
    clock = VirtualClock()
    box = Mailbox(DeviceTopics("plant-a", "press-7"), [], clock, lambda: None)
    box.put(f"{BASE}/_repo/timestamp".encode(), b"t", True)
    first, heard = box.changed_at, box.heard
    clock.advance(10)
    box.put(f"{BASE}/_repo/timestamp".encode(), b"t", False)
    assert box.changed_at == first
    assert box.heard == heard + 1


@settings(max_examples=300)
@given(st.binary(max_size=80), st.one_of(st.none(), st.binary(max_size=50)), st.booleans())
def test_any_topic_and_payload_is_survived(rest: bytes, payload: bytes | None, retained: bool) -> None:
    box = mailbox()
    box.put(rest, payload, retained)
    box.put(f"{BASE}/".encode() + rest, payload, retained)
    box.put(f"{BASE}/press-7/cmd/".encode() + rest, payload, retained)
