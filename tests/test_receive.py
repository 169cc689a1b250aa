"""MQTT bytes to messages: cut anywhere, too large, malformed."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.mqtt.receive import Malformed, PublishReader


def length(n: int) -> bytes:
    out = b""
    while True:
        n, byte = divmod(n, 128)
        out += bytes([byte | (0x80 if n else 0)])
        if not n:
            return out


def publish(topic: bytes, payload: bytes, qos: int = 1, mid: int = 7, version5: bool = False) -> bytes:
    body = struct.pack(">H", len(topic)) + topic
    body += struct.pack(">H", mid) if qos else b""
    body += b"\x05\x02\x00\x00\x00\x3c" if version5 else b""
    return bytes([0x30 | qos << 1]) + length(len(body + payload)) + body + payload


PINGRESP = b"\xd0\x00"
SUBACK = b"\x90\x03\x00\x01\x01"


def read(chunks: list[bytes], limit: int = 1000, version5: bool = False):
    reader = PublishReader(limit, version5)
    blocks = [reader.feed(chunk) for chunk in chunks]
    messages = [m for b in blocks for m in zip(b.topics, b.payloads, b.mids)]
    return messages, b"".join(block.others for block in blocks)


@pytest.mark.parametrize("version5", [False, True])
def test_a_stream_cut_at_any_two_places_gives_the_same_messages(version5):
    whole = b"".join(
        [
            *(publish(b"a", b"x" * 5, version5=version5), PINGRESP, publish(b"b/c", b"", 0, version5=version5), SUBACK),
            *(publish(*each, version5) for each in ((b"d", b"y" * 300, 1, 9), (b"big", b"z" * 2000, 1, 11), (b"e", b"!", 1, 12))),
        ]
    )
    expected = [(b"a", b"x" * 5, 7), (b"b/c", b"", 0), (b"d", b"y" * 300, 9), (b"big", None, 11), (b"e", b"!", 12)]
    for first in range(0, len(whole), 3):
        for second in (first + 1, first + 2, first + 130, len(whole)):
            assert read([whole[:first], whole[first:second], whole[second:]], version5=version5) == (expected, PINGRESP + SUBACK)


def flags(block) -> tuple[list[int], bool]:
    return block.retained, block.again


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version5", [False, True])
def test_the_retained_ones_of_a_block_are_named_by_index(qos, version5):
    plain, kept = publish(b"a", b"1", qos, version5=version5), bytearray(publish(b"b", b"2", qos, version5=version5))
    kept[0] |= 0x01
    assert flags(PublishReader(1000, version5).feed(plain + kept + PINGRESP + plain + kept)) == ([1, 3], False)
    assert flags(PublishReader(1000, version5).feed(plain * 3)) == ([], False)


def test_a_retained_message_sent_again_is_both():
    kept = bytearray(publish(b"b", b"2"))
    kept[0] |= 0x09
    assert flags(PublishReader(1000, False).feed(publish(b"a", b"1") + kept)) == ([1], True)


def test_a_retained_message_that_is_too_large_is_named_once_wherever_it_is_cut():
    kept = bytearray(publish(b"topic", b"x" * 2000))
    kept[0] |= 0x01
    whole = publish(b"a", b"1") + kept + publish(b"c", b"3")
    for cut in range(len(publish(b"a", b"1")), len(whole)):
        reader = PublishReader(1000, False)
        blocks = [reader.feed(whole[:cut]), reader.feed(whole[cut:])]
        assert [block.topics[i] for block in blocks for i in block.retained] == [b"topic"]


def test_one_byte_at_a_time():
    whole = publish(b"t", b"p" * 200) + PINGRESP + publish(b"t", b"q" * 3000) + publish(b"u", b"r")
    messages, others = read([whole[i : i + 1] for i in range(len(whole))])
    assert messages == [(b"t", b"p" * 200, 7), (b"t", None, 7), (b"u", b"r", 7)]
    assert others == PINGRESP


def test_a_ten_megabyte_message_is_skipped_without_being_kept():
    reader = PublishReader(1 << 20, False)
    whole = publish(b"t", b"x" * 10_000_000) + publish(b"t", b"ok")
    kept = 0
    messages = []
    for i in range(0, len(whole), 65536):
        block = reader.feed(whole[i : i + 65536])
        messages += list(zip(block.topics, block.payloads))
        kept = max(kept, sum(map(len, reader._parts)))
    assert messages == [(b"t", None), (b"t", b"ok")]
    assert kept <= 65536


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x32\x05\x00\x09ab\x00",  # a topic longer than the packet
        b"\x32\x04\x00\x02ab",  # QoS 1 without an identifier
        b"\x32\x06\x00\x02ab\x00\x00",  # identifier 0
        b"\x30\x01\x00",  # no room for a topic's length
        b"\x90\xff\xff\x7f" + b"\x00" * 100,  # a SUBACK of 2 MB
        b"\x32\xff\xff\x7f\xff\xff" + b"\x00" * 10 + b"\x00" * 70000,  # larger than the limit, identifier 0
    ],
)
def test_what_is_not_mqtt_closes_the_connection(packet):
    reader = PublishReader(1000, False)
    with pytest.raises(Malformed):
        reader.feed(packet + PINGRESP * 3)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans())
def test_any_bytes_give_messages_or_malformed(chunks, version5):
    reader = PublishReader(100, version5)
    try:
        for chunk in chunks:
            block = reader.feed(chunk)
            assert len(block.topics) == len(block.payloads) == len(block.mids)
            assert all(0 <= i < len(block.topics) for i in block.retained)
            assert sum(map(len, reader._parts)) <= 70_000
    except Malformed:
        pass
