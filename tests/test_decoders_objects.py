"""Objects with paths: arrays, lists, labels, times; for `json` and `cbor` alike."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import numpy as np
import pytest

from edged.config import schema
from edged.errors import OperatorError
from edged.records import BAD_TIME, MALFORMED, MISSING, MIXED_LABELS, WRONG_LENGTH, WRONG_TYPE, Readings
from edged.stream.decoders.cbor import load
from edged.stream.decoders.choose import make_decoder
from edged.stream.decoders.labels import MAX_LABEL

NS = 1_000_000_000
KINDS: dict[str, tuple[Any, Any]] = {"json": (schema.JsonDecoder, msgspec.json.encode), "cbor": (schema.CborDecoder, cbor2.dumps)}
both = pytest.mark.parametrize("name", KINDS)


def _decode(name: str, messages: list[Any], rate_hz: float = 0.0, **options: Any) -> Readings:
    kind, encode = KINDS[name]
    payloads = [encode(message) for message in messages]
    return make_decoder(kind(**options), rate_hz).decode(payloads, [b"t"] * len(payloads))


@both
def test_arrays_with_an_array_of_times(name: str) -> None:
    message = {"ts": [10, 20, 40], "a": [1, 2, 3], "b": [0.5, 1.5, 2]}
    readings = _decode(name, [message, {"ts": [50], "a": [4], "b": [5]}], channels=["b", "a"], time="ts")
    assert readings.values.tolist() == [[0.5, 1], [1.5, 2], [2, 3], [5, 4]]
    assert readings.times is not None
    assert readings.times.tolist() == [10_000_000, 20_000_000, 40_000_000, 50_000_000]
    assert readings.message.tolist() == [0, 0, 0, 1]


@both
def test_arrays_with_one_time_follow_at_the_releases_rate(name: str) -> None:
    """One time is the first reading's; the others are at 1/rate, rounded to nanoseconds, without drift."""
    readings = _decode(name, [{"ts": 1000, "a": [0.0] * 27}], rate_hz=26.0, channels=["a"], time="ts")
    assert readings.times is not None
    assert readings.times[0] == NS
    assert readings.times[1] == NS + round(NS / 26)
    assert readings.times[26] == 2 * NS


@both
def test_arrays_with_one_time_and_no_rate_are_refused(name: str) -> None:
    """The same time for all would look like duplicates."""
    readings = _decode(name, [{"ts": 1000, "a": [1, 2]}, {"ts": 1000, "a": [1]}], channels=["a"], time="ts")
    assert [(each.message, each.reason) for each in readings.rejected] == [(0, BAD_TIME)]
    assert readings.message.tolist() == [1]


@both
def test_arrays_without_event_time(name: str) -> None:
    readings = _decode(name, [{"a": [1, 2]}, {"a": 3}], channels=["a"])
    assert readings.times is None
    assert readings.values.tolist() == [[1], [2], [3]]


@both
def test_numbers_with_an_array_of_times_are_refused(name: str) -> None:
    for times in ([1], [1, 2]):
        readings = _decode(name, [{"ts": times, "a": 1}], channels=["a"], time="ts")
        assert readings.rejected[0].reason in (BAD_TIME, WRONG_LENGTH)


@both
def test_a_list_of_objects_with_arrays(name: str) -> None:
    readings = _decode(name, [[{"ts": [1, 2], "a": [1, 2]}, {"ts": 3, "a": 3}]], channels=["a"], time="ts")
    assert readings.values.tolist() == [[1], [2], [3]]
    assert readings.message.tolist() == [0, 0, 0]


@both
def test_missing_channel_is_named_with_its_path(name: str) -> None:
    readings = _decode(name, [{"acc": {"x": 1, "y": 2}}], channels=["acc.x", "acc.y", "acc.z"])
    assert [(each.reason, each.detail) for each in readings.rejected] == [(MISSING, "acc.z")]


@both
def test_labels_are_text_whatever_their_type(name: str) -> None:
    messages = [{"s": {"id": value}, "site": "a", "v": 1} for value in ("x", 7, 7.0, True, 7, "7")]
    readings = _decode(name, messages, channels=["v"], labels=["s.id", "site"])
    assert readings.labels == [(("id", text), ("site", "a")) for text in ("x", "7", "7.0", "true", "7", "7")]


@both
def test_equal_numbers_of_other_types_are_other_labels(name: str) -> None:
    """1, 1.0 and true are one key of a dict; remembering labels by value must not confuse them."""
    messages = [{"id": value, "v": 1} for value in (True, 1, 1.0, True, 1)]
    readings = _decode(name, messages, channels=["v"], labels=["id"])
    assert readings.labels == [(("id", text),) for text in ("true", "1", "1.0", "true", "1")]


@both
@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("x" * (MAX_LABEL + 1), WRONG_LENGTH),
        (None, WRONG_TYPE),
        ({"a": 1}, WRONG_TYPE),
        (["x"], WRONG_TYPE),
    ],
)
def test_bad_labels(name: str, label: object, reason: str) -> None:
    readings = _decode(
        name, [{"id": "a", "v": 1}, {"id": label, "v": 1}, {"v": 1}, {"id": "b", "v": [1, 2]}], channels=["v"], labels=["id"]
    )
    assert [(each.message, each.reason) for each in readings.rejected] == [(1, reason), (2, MISSING)]
    assert readings.labels == [(("id", "a"),), (), (), (("id", "b"),)]


def test_bytes_are_no_label() -> None:
    for label in (b"a", cbor2.undefined):
        readings = _decode("cbor", [{"id": label, "v": 1}], channels=["v"], labels=["id"])
        assert [each.reason for each in readings.rejected] == [WRONG_TYPE]


@both
@pytest.mark.parametrize("value", [1, [1, 2]])
def test_one_message_has_one_set_of_labels(name: str, value: object) -> None:
    messages = [[{"id": "a", "v": value}, {"id": "b", "v": value}], [{"id": "a", "v": value}, {"id": "a", "v": value}]]
    readings = _decode(name, messages, channels=["v"], labels=["id"])
    assert [(each.message, each.reason) for each in readings.rejected] == [(0, MIXED_LABELS)]
    assert readings.labels == [(), (("id", "a"),)]


@both
def test_more_labels_than_are_remembered(name: str) -> None:
    messages = [{"id": f"s{i}", "v": 1} for i in range(5000)]
    readings = _decode(name, messages, channels=["v"], labels=["id"])
    assert readings.labels == [(("id", f"s{i}"),) for i in range(5000)]


@both
@pytest.mark.parametrize(
    ("unit", "raw", "ns"),
    [
        ("s", 1763784741, 1763784741 * NS),
        ("s", 1763784741.5, 1763784741_500_000_000),
        ("ms", 1763784741123, 1763784741_123_000_000),
        ("ms", 1763784741123.25, 1763784741_123_250_000),
        ("us", 1763784741123456, 1763784741_123_456_000),
        ("ns", 1763784741123456789, 1763784741_123_456_789),
        ("ns", -1, -1),
        ("iso", "2025-11-22T04:12:21.123456789Z", 1763784741_123_456_789),
    ],
)
def test_time_units(name: str, unit: str, raw: object, ns: int) -> None:
    other = {"s": 1, "ms": 1, "us": 1, "ns": 1.0, "iso": "1970-01-01T00:00Z"}[unit]
    for messages in ([{"t": raw, "v": 1}], [{"t": raw, "v": 1}, {"t": other, "v": 1}], [{"t": [raw], "v": [1]}]):
        readings = _decode(name, messages, channels=["v"], time="t", time_unit=unit)
        assert readings.times is not None
        assert readings.times[0] == ns


@both
@pytest.mark.parametrize(
    "options",
    [
        {"channels": ["a", "a.b"]},
        {"channels": ["a", "a"]},
        {"channels": ["a"], "time": "a"},
        {"channels": ["a.b"], "labels": ["a"]},
        {"channels": ["a..b"]},
        {"channels": [""]},
    ],
)
def test_paths_that_cannot_be(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(OperatorError) as error:
        make_decoder(KINDS[name][0](**options))
    assert error.value.code == "bad-path"


@both
def test_keys_that_are_no_identifiers(name: str) -> None:
    paths = ["class.über-x", "class.'); import os; ('", "f0.__class__", "o.1"]
    message: dict[str, Any] = {"class": {"über-x": 1, "'); import os; ('": 2}, "f0": {"__class__": 3}, "o": {"1": 4}}
    assert _decode(name, [message], channels=paths).values.tolist() == [[1, 2, 3, 4]]


def test_of_a_repeated_key_the_last_counts() -> None:
    decoder = make_decoder(schema.JsonDecoder(channels=["a.x"]))
    readings = decoder.decode([b'{"a":{"x":1,"x":2}}', b'{"a":{"x":1},"a":{"x":3}}'], [b"t"] * 2)
    assert readings.values.tolist() == [[2], [3]]


def test_unused_fields_of_json_may_hold_anything() -> None:
    decoder = make_decoder(schema.JsonDecoder(channels=["x"]))
    readings = decoder.decode([b'{"u":1e999,"x":1,"w":' + b"9" * 6000 + b',"v":"\xff"}'], [b"t"])
    assert readings.values.tolist() == [[1]]


def test_float_times_keep_what_a_double_holds() -> None:
    """The whole part is scaled exactly, so only the sender's own rounding remains."""
    readings = _decode(
        "json", [{"t": 1763784741123.5, "v": 1}, {"t": 4503599627370495.5, "v": 1}], channels=["v"], time="t", time_unit="us"
    )
    assert readings.times is not None
    assert readings.times.tolist() == [1763784741123_500, 4503599627370495_500]


@pytest.mark.parametrize("tag", [0, 1, 55799])
def test_tags_that_only_describe_are_taken_off(tag: int) -> None:
    value = "2025-11-22T04:12:21Z" if tag == 0 else 5
    unit = "iso" if tag == 0 else "s"
    readings = _decode("cbor", [cbor2.CBORTag(55799, {"t": cbor2.CBORTag(tag, value), "v": 1})], channels=["v"], time="t", time_unit=unit)
    assert readings.rejected == []


def test_no_tag_runs_a_decoder_of_its_own() -> None:
    """Whatever the installed cbor2 knows: a regular expression, a date or a big number is never built."""
    for tag in [*range(0, 1200), *range(43000, 43010), *range(55790, 55810), 2**32, 2**63]:
        for content in (b"\x05", b"\x62(a", b"\x41\x07", b"\x82\x01\x02", b"\xa1\x61a\x01"):
            value = load(b"\xdb" + tag.to_bytes(8, "big") + content)
            assert type(value) in (object, int, str, bytes, list, dict), tag
            assert type(value) is object or tag in (0, 1, 55799), tag


def test_tagged_values_may_stand_in_unused_fields() -> None:
    message = {"uuid": cbor2.CBORTag(37, b"x" * 16), "when": cbor2.CBORTag(100, 5), "v": 1}
    assert _decode("cbor", [message], channels=["v"]).values.tolist() == [[1]]


def test_a_decimal_fraction_is_not_taken_for_an_array() -> None:
    readings = _decode("cbor", [{"v": cbor2.CBORTag(4, [-2, 27315])}], channels=["v"])
    assert [each.reason for each in readings.rejected] == [WRONG_TYPE]


def test_keys_made_to_collide_are_refused() -> None:
    """Tuples of -1 and -2 hash alike; 2^13 of them as keys of a map would take quadratic time."""
    keys = [b"\x8d" + bytes(0x20 | (i >> bit & 1) for bit in range(13)) for i in range(2**13)]
    payload = b"\xb9" + len(keys).to_bytes(2, "big") + b"".join(key + b"\x00" for key in keys)
    readings = make_decoder(schema.CborDecoder(channels=["v"])).decode([payload], [b"t"])
    assert [each.reason for each in readings.rejected] == [MALFORMED]


def test_a_large_batch_of_bad_values_is_sorted_out() -> None:
    messages = [{"v": 1e39 if i % 3 == 0 else i} for i in range(6000)]
    readings = _decode("cbor", messages, channels=["v"])
    assert len(readings.rejected) == 2000
    np.testing.assert_array_equal(readings.message, [i for i in range(6000) if i % 3])
