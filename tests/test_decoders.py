"""One suite over every decoder: the same readings in each format, and bytes of strangers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import cbor2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.config import schema
from edged.errors import OperatorError
from edged.records import (
    BAD_TIME,
    MALFORMED,
    MISSING,
    MIXED_LABELS,
    NOT_FINITE,
    OUT_OF_RANGE,
    TOO_LARGE,
    WRONG_LENGTH,
    WRONG_TYPE,
    Readings,
)
from edged.stream.decoders.choose import Decoder, make_decoder

T0 = 1_763_784_741_123  # milliseconds
MS = 1_000_000
Row = tuple[int, tuple[float, float, float]]

PATHS = ["acc.x", "acc.y", "acc.z"]
NAMES = ["x", "y", "z"]


def _object(row: Row, id_: str = "s1") -> dict[str, object]:
    time, (x, y, z) = row
    return {"id": id_, "ts": time, "acc": {"x": x, "y": y, "z": z, "unused": [1, {"deep": None}]}, "battery": 3.71}


def _json(rows: list[Row]) -> bytes:
    return msgspec.json.encode(_object(rows[0]) if len(rows) == 1 else [_object(row) for row in rows])


def _cbor(rows: list[Row]) -> bytes:
    return cbor2.dumps(_object(rows[0]) if len(rows) == 1 else [_object(row) for row in rows])


def _csv(rows: list[Row]) -> bytes:
    return "\n".join(",".join(map(repr, (time, *values))) for time, values in rows).encode()


def _influx(rows: list[Row]) -> bytes:
    return "\n".join(f"acc,id=s1 x={x!r},y={y!r},z={z!r},b=true {time * MS}" for time, (x, y, z) in rows).encode()


def _packed(rows: list[Row]) -> bytes:
    return b"".join(struct.pack("<q3f", time, *values) for time, values in rows)


@dataclass
class Case:
    """One decoder: its options, how readings are written for it, and what must be refused."""

    options: schema.Decoder
    encode: Callable[[list[Row]], bytes]
    bad: dict[str, tuple[bytes, str]]

    def make(self) -> Decoder:
        return make_decoder(self.options, 26.0)


OBJECT_BAD = {
    "a list that is empty": ([], WRONG_LENGTH),
    "a number": (5, WRONG_TYPE),
    "null": (None, WRONG_TYPE),
    "a text": ("acc", WRONG_TYPE),
    "a list in a list": ([[]], WRONG_TYPE),
    "no channel": ({"ts": 1, "acc": {"x": 1, "y": 2}}, MISSING),
    "no table of the channel": ({"ts": 1}, MISSING),
    "a number for the table": ({"ts": 1, "acc": 3}, MISSING),
    "text for a number": ({"ts": 1, "acc": {"x": "1", "y": 2, "z": 3}}, WRONG_TYPE),
    "null for a number": ({"ts": 1, "acc": {"x": None, "y": 2, "z": 3}}, WRONG_TYPE),
    "true for a number": ({"ts": 1, "acc": {"x": True, "y": 2, "z": 3}}, WRONG_TYPE),
    "text in an array": ({"ts": [1, 2], "acc": {"x": [1, "2"], "y": [2, 2], "z": [3, 3]}}, WRONG_TYPE),
    "array beside numbers": ({"ts": 1, "acc": {"x": [1], "y": 2, "z": 3}}, WRONG_LENGTH),
    "arrays of two lengths": ({"ts": [1, 2], "acc": {"x": [1, 2], "y": [2, 2], "z": [3]}}, WRONG_LENGTH),
    "empty arrays": ({"ts": [], "acc": {"x": [], "y": [], "z": []}}, WRONG_LENGTH),
    "times of another length": ({"ts": [1], "acc": {"x": [1, 2], "y": [2, 2], "z": [3, 4]}}, WRONG_LENGTH),
    "beyond float32": ({"ts": 1, "acc": {"x": 1e39, "y": 2, "z": 3}}, OUT_OF_RANGE),
    "no time": ({"acc": {"x": 1, "y": 2, "z": 3}}, BAD_TIME),
    "text as time": ({"ts": "1", "acc": {"x": 1, "y": 2, "z": 3}}, BAD_TIME),
    "true as time": ({"ts": True, "acc": {"x": 1, "y": 2, "z": 3}}, BAD_TIME),
    "time beyond int64": ({"ts": 2**63, "acc": {"x": 1, "y": 2, "z": 3}}, BAD_TIME),
    "time beyond int64 as a float": ({"ts": 1e300, "acc": {"x": 1, "y": 2, "z": 3}}, BAD_TIME),
    "spaced readings leave int64": ({"ts": 9223372036854, "acc": {"x": [1] * 99, "y": [2] * 99, "z": [3] * 99}}, BAD_TIME),
    "one of a list": ([_object((T0, (1, 2, 3))), {"ts": 1, "acc": {"x": 1, "y": 2, "z": "?"}}], WRONG_TYPE),
}
JSON_BAD = {
    "empty": (b"", MALFORMED),
    "not JSON": (b"hello", MALFORMED),
    "cut": (b'{"ts":1,"acc":{"x":1', MALFORMED),
    "a mark of byte order": (b"\xef\xbb\xbf" + _json([(T0, (1, 2, 3))]), MALFORMED),
    "more after the end": (_json([(T0, (1, 2, 3))]) + b"x", MALFORMED),
    "two messages": (_json([(T0, (1, 2, 3))]) * 2, MALFORMED),
    "NaN": (b'{"ts":1,"acc":{"x":NaN,"y":2,"z":3}}', MALFORMED),
    "bytes that are no text": (b"\xff\xfe\x00", MALFORMED),
    "a number of 400 digits": (b'{"ts":1,"acc":{"x":%s,"y":2,"z":3}}' % (b"9" * 400), OUT_OF_RANGE),
    "a number of 5000 digits": (b'{"ts":1,"acc":{"x":%s,"y":2,"z":3}}' % (b"9" * 5000), OUT_OF_RANGE),
    "a float no double holds": (b'{"ts":1,"acc":{"x":1e999,"y":2,"z":3}}', OUT_OF_RANGE),
    "a time of 400 digits": (b'{"ts":%s,"acc":{"x":1,"y":2,"z":3}}' % (b"9" * 400), BAD_TIME),
    "brackets without end": (b"[" * 100_000, MALFORMED),
    "brackets in an unused field": (b'{"unused":' + b"[" * 100_000, MALFORMED),
    "tables without end": (b'{"acc":' * 100_000, MALFORMED),
}
SOUND = _object((T0, (1.0, 2.0, 3.0)))
CBOR_BAD = {
    "empty": (b"", MALFORMED),
    "cut": (_cbor([(T0, (1, 2, 3))])[:-3], MALFORMED),
    "more after the end": (_cbor([(T0, (1, 2, 3))]) + b"\x00", MALFORMED),
    "the end that the decoder looks for, and more": (_cbor([(T0, (1, 2, 3))]) + b"\x43xyz", MALFORMED),
    "NaN": (cbor2.dumps({"ts": 1, "acc": {"x": float("nan"), "y": 2, "z": 3}}), NOT_FINITE),
    "infinity": (cbor2.dumps({"ts": 1, "acc": {"x": 1, "y": -float("inf"), "z": 3}}), NOT_FINITE),
    "NaN as time": (cbor2.dumps({"ts": float("nan"), "acc": {"x": 1, "y": 2, "z": 3}}), BAD_TIME),
    "NaN in an array": (cbor2.dumps({"ts": [1], "acc": {"x": [float("nan")], "y": [2], "z": [3]}}), NOT_FINITE),
    "arrays without end": (b"\x81" * 100_000, MALFORMED),
    "open arrays without end": (b"\x9f" * 100_000, MALFORMED),
    "tags without end": (b"\xc6" * 100_000, MALFORMED),
    "an array that claims 2^63 items": (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", MALFORMED),
    "a map that claims 2^30 items": (b"\xba\x40\x00\x00\x00", MALFORMED),
    "bytes that claim 2^62": (b"\x5b\x40\x00\x00\x00\x00\x00\x00\x00", MALFORMED),
    "text that is not UTF-8": (b"\xa1\x61\xff\x01", MALFORMED),
    "a big number as a channel": (cbor2.dumps({"ts": 1, "acc": {"x": 2**70, "y": 2, "z": 3}}), WRONG_TYPE),
    "undefined as a channel": (cbor2.dumps({"ts": 1, "acc": {"x": cbor2.undefined, "y": 2, "z": 3}}), WRONG_TYPE),
    "a cycle of shared references": (b"\xd8\x1c\x81\xd8\x1d\x00", WRONG_TYPE),
    "keys made to collide": (b"\xa2\x82\x20\x20\x01\x82\x21\x21\x02", MALFORMED),
}
CSV_BAD = {
    "empty": (b"", WRONG_LENGTH),
    "only newlines": (b"\r\n\n", WRONG_LENGTH),
    "too few cells": (b"1,2,3", WRONG_LENGTH),
    "too many cells": (b"1,2,3,4,5", WRONG_LENGTH),
    "ragged lines that add up": (b"1,2,3\n1,2,3,4,5", WRONG_LENGTH),
    "a word": (b"1,2,three,4", WRONG_TYPE),
    "an empty cell": (b"1,2,,4", WRONG_TYPE),
    "digits in groups": (b"1,2,1_000,4", WRONG_TYPE),
    "NaN": (b"1,2,nan,4", NOT_FINITE),
    "infinity": (b"1,2,-inf,4", NOT_FINITE),
    "beyond a double": (b"1,2,1e999,4", NOT_FINITE),
    "beyond float32": (b"1,2,3,1e39", OUT_OF_RANGE),
    "a word as time": (b"now,2,3,4", BAD_TIME),
    "NaN as time": (b"nan,2,3,4", BAD_TIME),
    "time beyond int64": (b"9223372036855,2,3,4", BAD_TIME),
    "time of 5000 digits": (b"9" * 5000 + b",2,3,4", BAD_TIME),
    "one line of two": (b"1,2,3,4\n2,2,x,4", WRONG_TYPE),
    "a quote without end": (b'1,2,"3,4', MALFORMED),
    "not text": (b"\xff\xfe\x00\x01", WRONG_LENGTH),
}
INFLUX_BAD = {
    "empty": (b"", WRONG_LENGTH),
    "spaces": (b" \n ", WRONG_LENGTH),
    "no fields": (b"acc,id=s1", MALFORMED),
    "a field without a value": (b"acc x 1", MALFORMED),
    "no timestamp": (b"acc,id=s1 x=1,y=2,z=3", BAD_TIME),
    "a float as timestamp": (b"acc,id=s1 x=1,y=2,z=3 1.5", BAD_TIME),
    "timestamp beyond int64": (b"acc,id=s1 x=1,y=2,z=3 9223372036854775808", BAD_TIME),
    "timestamp of 5000 digits": (b"acc,id=s1 x=1,y=2,z=3 " + b"9" * 5000, BAD_TIME),
    "four parts": (b"acc,id=s1 x=1,y=2,z=3 5 6", MALFORMED),
    "four parts after a string": (b'acc,id=s1 x=1,y=2,z=3,s="" 5 6', MALFORMED),
    "a channel is missing": (b"acc,id=s1 x=1,y=2 5", MISSING),
    "a channel is true": (b"acc,id=s1 x=1,y=2,z=true 5", WRONG_TYPE),
    "a channel is text": (b'acc,id=s1 x=1,y=2,z="3" 5', WRONG_TYPE),
    "digits in groups": (b"acc,id=s1 x=1,y=2,z=3_0 5", WRONG_TYPE),
    "not finite": (b"acc,id=s1 x=1,y=2,z=NaN 5", NOT_FINITE),
    "beyond float32": (b"acc,id=s1 x=1,y=2,z=1e39 5", OUT_OF_RANGE),
    "a string without end": (b'acc,id=s1 x=1,y=2,z=3,s="abc 5', MALFORMED),
    "a tag without a value": (b"acc,id x=1,y=2,z=3 5", MALFORMED),
    "a tag twice": (b"acc,id=s1,id=s2 x=1,y=2,z=3 5", MALFORMED),
    "a tag that is not UTF-8": (b"acc,id=\xff x=1,y=2,z=3 5", MALFORMED),
    "a tag of 129 characters": (b"acc,id=%s x=1,y=2,z=3 5" % (b"a" * 129), WRONG_LENGTH),
    "two tag sets": (b"acc,id=s1 x=1,y=2,z=3 5\nacc,id=s2 x=1,y=2,z=3 6", MIXED_LABELS),
}
PACKED_BAD = {
    "empty": (b"", WRONG_LENGTH),
    "a byte short": (b"\x00" * 19, WRONG_LENGTH),
    "a byte over": (b"\x00" * 21, WRONG_LENGTH),
    "NaN": (struct.pack("<q3f", 1, 1, float("nan"), 3), NOT_FINITE),
    "a signalling NaN": (struct.pack("<q", 1) + b"\x01\x00\xa0\x7f" * 3, NOT_FINITE),
    "infinity in the second record": (struct.pack("<q3fq3f", 1, 1, 2, 3, 2, 1, float("inf"), 3), NOT_FINITE),
    "time beyond int64": (struct.pack("<q3f", 2**62, 1, 2, 3), BAD_TIME),
    "time before int64": (struct.pack("<q3f", -(2**63), 1, 2, 3), BAD_TIME),
}

CASES = {
    "json": Case(
        schema.JsonDecoder(channels=PATHS, time="ts"),
        _json,
        {**{k: (msgspec.json.encode(v), r) for k, (v, r) in OBJECT_BAD.items()}, **JSON_BAD},
    ),
    "cbor": Case(
        schema.CborDecoder(channels=PATHS, time="ts"), _cbor, {**{k: (cbor2.dumps(v), r) for k, (v, r) in OBJECT_BAD.items()}, **CBOR_BAD}
    ),
    "csv": Case(schema.CsvDecoder(channels=NAMES, time="ts"), _csv, CSV_BAD),
    "influx": Case(schema.InfluxDecoder(channels=NAMES), _influx, INFLUX_BAD),
    "packed": Case(schema.PackedDecoder(layout="<q3f", channels=NAMES, time="ts"), _packed, PACKED_BAD),
}
BAD = [
    pytest.param(name, payload, reason, id=f"{name}-{what}") for name, case in CASES.items() for what, (payload, reason) in case.bad.items()
]

every = pytest.mark.parametrize("name", CASES)


def _decode(decoder: Decoder, *payloads: bytes | None) -> Readings:
    readings = decoder.decode(list(payloads), [b"t"] * len(payloads))
    _check(readings, len(payloads), 3)
    return readings


def _check(readings: Readings, payloads: int, channels: int) -> None:
    """What holds for every decoder and all bytes."""
    assert readings.values.dtype == np.float32
    assert readings.values.flags.c_contiguous
    assert readings.values.shape == (len(readings.message), channels)
    assert np.isfinite(readings.values).all()
    assert readings.message.dtype == np.intp
    assert (np.diff(readings.message) >= 0).all()
    if readings.times is not None:
        assert readings.times.dtype == np.int64
        assert len(readings.times) == len(readings.message)
    assert readings.labels is None or len(readings.labels) == payloads
    refused = [each.message for each in readings.rejected]
    assert refused == sorted(set(refused))
    assert not set(refused) & set(readings.message.tolist())
    assert set(refused) <= set(range(payloads))
    assert all(len(each.detail) <= 120 for each in readings.rejected)


def _rows(count: int, start: int = 0) -> list[Row]:
    return [(T0 + 10 * i, (0.5 * i, -9.875, float(-i))) for i in range(start, start + count)]


def _expect(readings: Readings, rows: list[Row], message: list[int]) -> None:
    assert readings.values.tolist() == [list(values) for _, values in rows]
    assert readings.times is not None
    assert readings.times.tolist() == [time * MS for time, _ in rows]
    assert readings.message.tolist() == message


@every
@pytest.mark.parametrize("count", [1, 2, 20, 300])
def test_one_reading_a_message(name: str, count: int) -> None:
    case = CASES[name]
    rows = _rows(count)
    readings = _decode(case.make(), *[case.encode([row]) for row in rows])
    _expect(readings, rows, list(range(count)))
    assert readings.rejected == []


@every
def test_many_readings_a_message(name: str) -> None:
    case = CASES[name]
    rows = _rows(6)
    readings = _decode(case.make(), case.encode(rows[:3]), case.encode(rows[3:4]), case.encode(rows[4:]))
    _expect(readings, rows, [0, 0, 0, 1, 2, 2])
    assert readings.rejected == []


@every
def test_no_messages(name: str) -> None:
    assert len(_decode(CASES[name].make()).values) == 0


@every
def test_a_payload_too_large_is_named_and_leaves_its_neighbours(name: str) -> None:
    case = CASES[name]
    rows = _rows(2)
    readings = _decode(case.make(), case.encode(rows[:1]), None, case.encode(rows[1:]))
    _expect(readings, rows, [0, 2])
    assert [(each.message, each.reason) for each in readings.rejected] == [(1, TOO_LARGE)]


@every
def test_nothing_but_payloads_too_large(name: str) -> None:
    readings = _decode(CASES[name].make(), None, None)
    assert [each.reason for each in readings.rejected] == [TOO_LARGE, TOO_LARGE]


@pytest.mark.parametrize(("name", "payload", "reason"), BAD)
def test_a_bad_message_gives_its_reason_and_leaves_its_neighbours(name: str, payload: bytes, reason: str) -> None:
    case = CASES[name]
    rows = _rows(5)
    good = [case.encode(rows[:1]), case.encode(rows[1:4]), case.encode(rows[4:])]
    readings = _decode(case.make(), payload, good[0], payload, good[1], good[2], payload)
    assert [(each.message, each.reason) for each in readings.rejected] == [(0, reason), (2, reason), (5, reason)]
    _expect(readings, rows, [1, 3, 3, 3, 4])
    alone = _decode(case.make(), payload)
    assert [(each.message, each.reason) for each in alone.rejected] == [(0, reason)]


@every
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(-(2**63) // MS + 1, 2**63 // MS - 1),
                st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 3),
            ),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(name: str, messages: list[list[Row]]) -> None:
    case = CASES[name]
    readings = _decode(case.make(), *[case.encode(rows) for rows in messages])
    assert readings.rejected == []
    _expect(readings, [row for rows in messages for row in rows], [i for i, rows in enumerate(messages) for _ in rows])


def _mutated(payload: bytes, chance: random.Random) -> bytes:
    data = bytearray(payload)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at:at] = chance.randbytes(chance.randint(1, 3))
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at : at + 1] = chance.choice(
                    [b"0", b"9", b"-", b"e", b'"', b"\\", b",", b" ", b"\n", b"[", b"{", b"\x00", b"\xff", b"="]
                )
            case _:
                data[at:at] = data[: chance.randint(0, 12)]
    return bytes(data)


def _same(batch: Readings, index: int, alone: Readings) -> None:
    """The message `index` of a batch came out as it does alone."""
    of = batch.message == index
    np.testing.assert_array_equal(batch.values[of], alone.values)
    assert batch.times is not None
    assert alone.times is not None
    np.testing.assert_array_equal(batch.times[of], alone.times)
    assert [each.reason for each in batch.rejected if each.message == index] == [each.reason for each in alone.rejected]
    assert (batch.labels and batch.labels[index]) == (alone.labels and alone.labels[0])


@every
def test_bytes_of_strangers_never_raise_and_never_touch_a_neighbour(name: str) -> None:
    case = CASES[name]
    chance = random.Random(name)
    seeds = [case.encode(_rows(1)), case.encode(_rows(3)), *[payload for payload, _ in case.bad.values() if 0 < len(payload) < 500]]
    for _ in range(150):
        batch: list[bytes | None] = [
            chance.randbytes(chance.randint(0, 60)) if chance.random() < 0.2 else _mutated(chance.choice(seeds), chance) for _ in range(5)
        ]
        batch.insert(chance.randrange(6), seeds[chance.randrange(2)])
        readings = _decode(case.make(), *batch)
        for i, payload in enumerate(batch):
            _same(readings, i, _decode(case.make(), payload))


@every
@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_readings_or_refused(name: str, payload: bytes) -> None:
    _decode(CASES[name].make(), payload)


def test_a_text_decoder_gives_no_readings() -> None:
    with pytest.raises(OperatorError) as error:
        make_decoder(schema.TextDecoder())
    assert error.value.code == "decoder-gives-text"
