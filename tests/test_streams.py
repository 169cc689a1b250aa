"""The table of streams: keys, bounds, who gives way."""

import numpy as np

from edged.mqtt.topics import Template
from edged.stream.streams import NOT_OURS, StreamTable


def table(limit: int) -> StreamTable:
    match = Template("plant/{line}/pump/{pump}/vib").match
    begun: list[int] = []
    made = StreamTable(limit, lambda topic: match(topic.decode()), object, begun.append)
    made.begun = begun
    return made


def topic(i: int) -> bytes:
    return b"plant/a/pump/%d/vib" % i


def test_named_levels_become_the_key_and_the_labels():
    streams = table(4)
    slot = streams.one_slot(topic(7))
    assert streams.streams[slot].key == "line=a/pump=7"
    assert streams.streams[slot].labels == {"line": "a", "pump": "7"}


def test_labels_in_messages_make_streams_of_one_topic():
    streams = table(4)
    slots = streams.slots_of([topic(1)] * 3, [(("axis", "x"),), (("axis", "y"),), (("axis", "x"),)])
    assert slots[0] == slots[2] != slots[1]
    assert streams.streams[slots[1]].key == "line=a/pump=1/axis=y"


def test_a_topic_that_does_not_fit_has_no_stream():
    assert table(4).one_slot(b"plant/a/fan/1/vib") == NOT_OURS
    assert table(4).slots_of([topic(1), b"else", b"\xff"[:0]], None).tolist() == [0, NOT_OURS, NOT_OURS]


def test_a_hundred_thousand_keys_stay_in_bounds_and_the_silent_one_gives_way():
    streams = table(100)
    for i in range(0, 100_000, 20):
        streams.slots_of([topic(0), *(topic(k) for k in range(i + 1, i + 20))], None)
    assert len(streams.streams) == 100
    assert len(streams._slots) == 100
    assert streams.evicted == 100_000 // 20 * 19 + 1 - 100
    assert streams.streams[streams.one_slot(topic(0))].labels["pump"] == "0"
    assert streams.begun.count(0) == 1, "a stream that speaks in every batch is never let go"


def test_the_same_new_key_twice_in_one_batch_is_one_stream():
    assert table(3).slots_of([topic(1), topic(1), topic(2)], None).tolist() == [0, 0, 1]
    assert isinstance(table(3).slots_of([topic(1)], None), np.ndarray)
