"""Topics, addresses and layouts that may stand in a configuration."""

from __future__ import annotations

import contextlib
import struct
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.config.addresses import BadAddress, BrokerUrl, parse_broker_url, parse_listen
from edged.config.layout import LETTERS, ORDERS, BadLayout, fields_of
from edged.config.topics import levels_of, names_in, output_problems, overlap, source_problems


def matches(filter_: list[str], topic: list[str]) -> bool:
    """Hold a filter against a topic, straight from MQTT 5.0, section 4.7."""
    if filter_[0] in ("+", "#") and topic[0].startswith("$"):
        return False
    if filter_[-1] == "#":
        filter_ = filter_[:-1]
        topic = topic[: len(filter_)]
    return len(filter_) == len(topic) and all(level in ("+", other) for level, other in zip(filter_, topic))


LEVELS = ("", "a", "$a")
TOPICS = [list(topic) for depth in (1, 2, 3, 4) for topic in product(LEVELS, repeat=depth)]
filters = st.builds(
    lambda levels, end: [*levels, *end],
    st.lists(st.sampled_from([*LEVELS, "+"]), min_size=1, max_size=3),
    st.sampled_from([[], ["#"]]),
) | st.just(["#"])


@given(filters, filters)
def test_filters_overlap_exactly_where_some_topic_fits_both(one: list[str], other: list[str]) -> None:
    assert overlap(one, other) == any(matches(one, topic) and matches(other, topic) for topic in TOPICS)


@given(filters, filters)
def test_overlap_has_no_direction(one: list[str], other: list[str]) -> None:
    assert overlap(one, other) == overlap(other, one)


@given(st.sampled_from(TOPICS), filters)
def test_a_topic_overlaps_a_filter_when_it_fits(topic: list[str], filter_: list[str]) -> None:
    assert overlap(topic, filter_) == matches(filter_, topic)


def test_names_become_their_value_or_any_level() -> None:
    assert levels_of("edged/{device}/{line}/{x}y", {"device": "press-7"}) == ["edged", "press-7", "+", "{x}y"]
    assert names_in("a/{b}/{c}d/{e}") == ["b", "e"]


@pytest.mark.parametrize("topic", ["a", "plant/{line}/+/vib", "/a//b/", "$SYS/broker/load", "größe/°C", "a/{_x1}", "+", "{a}"])
def test_sound_source_topics(topic: str) -> None:
    assert source_problems(topic) == []


BAD_SOURCES = {
    "": "is empty",
    "plant/#": "has a `#`",
    "plant/a#/b": "has a `#`",
    "plant/a+/b": 'has a `+` inside the level "a+"',
    "plant/x{line}/b": 'has a brace in the level "x{line}"',
    "plant/{line/b": "has a brace",
    "plant/{1a}/b": "has a brace",
    "plant/{}": "has a brace",
    "{a}/{a}": "names two levels `{a}`",
    "{device}/a": "calls a level `{device}`",
    "a\0b": "has a control character",
    "a\nb": "has a control character",
    "$share/g/a": "is a shared subscription",
    "a" * 65_536: "is longer than 65535 bytes",
}


@pytest.mark.parametrize(("topic", "words"), BAD_SOURCES.items(), ids=[repr(topic[:20]) for topic in BAD_SOURCES])
def test_each_fault_of_a_source_topic_is_told_with_a_hint(topic: str, words: str) -> None:
    ((text, hint),) = source_problems(topic)
    assert text.startswith(words)
    assert hint


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("a/+/b", "has a wildcard"),
        ("a/#", "has a wildcard"),
        ("$SYS/a", "begins with `$`"),
        ("a/{pump}", "has `{pump}`"),
        ("a/\x00", "has a control"),
    ],
)
def test_each_fault_of_an_output_topic_is_told_with_a_hint(topic: str, words: str) -> None:
    ((text, hint),) = output_problems(topic, {"line"})
    assert text.startswith(words)
    assert hint


def test_labels_that_only_messages_tell_may_stand_in_an_output_topic() -> None:
    assert output_problems("a/{host}/{fleet}/{device}/{pipeline}/{model}", None) == []
    assert output_problems("a/{host}", set()) != []


@given(st.text(max_size=30))
def test_any_text_is_judged_as_a_topic(topic: str) -> None:
    source_problems(topic)
    output_problems(topic, None)


URLS = {
    "mqtt://broker": BrokerUrl("mqtt", "broker", 1883, ""),
    "MQTTS://broker.plant:8884": BrokerUrl("mqtts", "broker.plant", 8884, ""),
    "mqtt://192.168.1.2:1883/": BrokerUrl("mqtt", "192.168.1.2", 1883, "/"),
    "mqtts://[fe80::1%eth0]:8883": BrokerUrl("mqtts", "fe80::1%eth0", 8883, ""),
    "ws://broker/mqtt": BrokerUrl("ws", "broker", 80, "/mqtt"),
    "wss://broker:443/a/b": BrokerUrl("wss", "broker", 443, "/a/b"),
    "mqtt://my_broker.": BrokerUrl("mqtt", "my_broker.", 1883, ""),
}


@pytest.mark.parametrize(("url", "expected"), URLS.items())
def test_sound_broker_urls(url: str, expected: BrokerUrl) -> None:
    assert parse_broker_url(url) == expected


BAD_URLS = {
    "broker": "is not a URL",
    "broker:1883": "is not a URL",
    "": "is not a URL",
    "tcp://broker": "unknown scheme `tcp`",
    "mqtt://": "has no host",
    "mqtt://:1883": "has no host",
    "mqtt://me:secret@broker": "user name or password",
    "mqtt://broker:0": "port 0",
    "mqtt://broker:65536": "port 65536",
    "mqtt://broker:x": "host or port",
    "mqtt://bro ker": "host or port",
    "mqtt://fe80::1": "host or port",
    "mqtt://broker/topic": "goes on after the port",
    "mqtt://broker?x=1": "goes on after the port",
    "ws://broker/a b": "path with characters",
    "mqtt://broker\n": "host or port",
}


@pytest.mark.parametrize(("url", "words"), BAD_URLS.items())
def test_each_fault_of_a_url_is_told_and_no_password_repeated(url: str, words: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_broker_url(url)
    text, hint = caught.value.args
    assert words in text
    assert hint
    assert "secret" not in text + hint


def test_listen_addresses() -> None:
    assert parse_listen("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert parse_listen("[::1]:0") == ("::1", 0)


@pytest.mark.parametrize("listen", ["9464", "127.0.0.1", ":9464", "127.0.0.1:", "a:b", "a:99999", "::1:9464", "http://a:1"])
def test_what_is_no_listen_address_is_refused(listen: str) -> None:
    with pytest.raises(BadAddress):
        parse_listen(listen)


@given(st.text(max_size=40) | st.from_regex(r"(mqtt|wss?)://[^/]{0,20}(/.{0,9})?", fullmatch=True))
def test_any_text_is_an_address_or_a_bad_one(text: str) -> None:
    for parse in (parse_broker_url, parse_listen):
        with contextlib.suppress(BadAddress):
            parse(text)


@settings(max_examples=200)
@given(
    st.sampled_from(ORDERS), st.lists(st.tuples(st.integers(0, 20) | st.just(""), st.sampled_from(LETTERS + "x")), min_size=1, max_size=8)
)
def test_layouts_have_the_fields_that_struct_unpacks(order: str, parts: list[tuple[int | str, str]]) -> None:
    layout = order + "".join(f"{count}{letter}" for count, letter in parts)
    values = struct.unpack(layout, bytes(struct.calcsize(layout)))
    try:
        assert len(fields_of(layout)) == len(values)
    except BadLayout:
        assert not values


def test_pad_bytes_are_no_fields() -> None:
    assert fields_of("<2hxf3x") == "hhf"


@pytest.mark.parametrize("layout", ["", "hhh", "@hhh", "<", "<s", "<h h", "<4097h", "<99999999h", "<xx", "<0h", "<P", "<n", "<?", "<h>h"])
def test_what_is_no_layout_is_refused(layout: str) -> None:
    with pytest.raises(BadLayout) as caught:
        fields_of(layout)
    assert all(caught.value.args)
