"""Lines: `csv`, `influx` and `text`."""

from __future__ import annotations

import pytest

from edged.config import schema
from edged.records import EMPTY_TEXT, MALFORMED, MISSING, MIXED_LABELS, TOO_LARGE, WRONG_LENGTH, WRONG_TYPE, Readings
from edged.stream.decoders.choose import Decoder, make_decoder
from edged.stream.decoders.csv import MAX_TOPICS
from edged.stream.decoders.text import TextMessages


def _decode(decoder: Decoder, *payloads: bytes, topic: bytes = b"t") -> Readings:
    return decoder.decode(list(payloads), [topic] * len(payloads))


def _csv(**options: object) -> Decoder:
    return make_decoder(schema.CsvDecoder(**{"channels": ["x", "y"], **options}))  # type: ignore[arg-type]


def _influx(**options: object) -> Decoder:
    return make_decoder(schema.InfluxDecoder(**{"channels": ["x", "y"], **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "payload",
    [b"1,2", b"1,2\n", b"1,2\r\n", b" 1 , 2 ", b"1.0,2e0", b"+1,2", b'"1","2"', b'1, "2"', b"\r\n1,2\r\n\r\n", b"\xef\xbb\xbf1,2"],
)
def test_one_line_in_many_dresses(payload: bytes) -> None:
    assert _decode(_csv(), payload).values.tolist() == [[1, 2]]


@pytest.mark.parametrize("separator", [";", "\t", " ", "|"])
def test_separators(separator: str) -> None:
    readings = _decode(_csv(separator=separator), separator.join("12").encode(), f"3{separator}4\r\n5{separator}6\r\n".encode())
    assert readings.values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert readings.message.tolist() == [0, 1, 1]


def test_a_header_names_the_columns_for_its_topic() -> None:
    decoder = _csv(time="ts", labels=["id"])
    first = _decode(decoder, b"id,y,ts,note,x\r\n", b"a,2,7,n,1", b"b,4,8,,3")
    assert first.rejected == []
    assert first.values.tolist() == [[1, 2], [3, 4]]
    assert first.times is not None
    assert first.times.tolist() == [7_000_000, 8_000_000]
    assert first.labels == [(), (("id", "a"),), (("id", "b"),)]
    assert _decode(decoder, b"a,2,7,n,1").values.tolist() == [[1, 2]]
    other = _decode(decoder, b"7,1,2", topic=b"other")
    assert [(each.reason, each.detail) for each in other.rejected] == [(MISSING, "id")]


def test_a_header_in_front_of_its_lines() -> None:
    readings = _decode(_csv(), b'\xef\xbb\xbf"y", x\n1,2\n3,4\n', b"5,6")
    assert readings.values.tolist() == [[2, 1], [4, 3], [6, 5]]


def test_a_new_header_replaces_the_old_one() -> None:
    decoder = _csv()
    assert _decode(decoder, b"x,y", b"1,2", b"y,x", b"1,2").values.tolist() == [[1, 2], [2, 1]]
    assert _decode(decoder, b"3,4").values.tolist() == [[4, 3]]


def test_topics_of_one_batch_with_headers_of_their_own() -> None:
    decoder = _csv()
    decoder.decode([b"y,x"], [b"b"])
    readings = decoder.decode([b"1,2", b"1,2"], [b"a", b"b"])
    assert readings.values.tolist() == [[1, 2], [2, 1]]


def test_a_stranger_with_many_topics_fills_no_memory() -> None:
    decoder = _csv()
    for i in range(MAX_TOPICS + 10):
        decoder.decode([b"y,x"], [b"%d" % i])
    assert len(decoder._headers) == MAX_TOPICS  # type: ignore[attr-defined]
    assert decoder.decode([b"1,2"], [b"0"]).values.tolist() == [[1, 2]]
    assert decoder.decode([b"1,2"], [b"%d" % MAX_TOPICS]).values.tolist() == [[2, 1]]


def test_a_header_of_numbers_is_still_a_header() -> None:
    decoder = make_decoder(schema.CsvDecoder(channels=["1", "2"]))
    assert _decode(decoder, b"2,1\n5,6").values.tolist() == [[6, 5]]


def test_named_columns_without_a_header() -> None:
    decoder = _csv(columns=["skip", "y", "x", "ts", "id"], time="ts", time_unit="iso", labels=["id"])
    readings = _decode(decoder, b"word,1,2,1970-01-01T00:00:01Z, a_1 ", b",3,4,1970-01-01 00:00:02,a")
    assert readings.rejected == []
    assert readings.values.tolist() == [[2, 1], [4, 3]]
    assert readings.times is not None
    assert readings.times.tolist() == [1_000_000_000, 2_000_000_000]
    assert readings.labels == [(("id", "a_1"),), (("id", "a"),)]


def test_lines_of_one_message_share_their_labels() -> None:
    decoder = _csv(columns=["x", "y", "id"], labels=["id"])
    readings = _decode(decoder, b"1,2,a\n1,2,b", b"1,2,c\n3,4,c", b"1,2,\xff", b"1,2," + b"a" * 129)
    assert [(each.message, each.reason) for each in readings.rejected] == [(0, MIXED_LABELS), (2, MALFORMED), (3, WRONG_LENGTH)]
    assert readings.labels == [(), (("id", "c"),), (), ()]


def test_nanoseconds_in_a_cell_stay_exact() -> None:
    readings = _decode(_csv(time="ts", time_unit="ns"), b"1763784741123456789,1,2", b"1763784741123456790,1,2")
    assert readings.times is not None
    assert readings.times.tolist() == [1763784741123456789, 1763784741123456790]


def test_one_float_time_does_not_round_the_others() -> None:
    readings = _decode(_csv(time="ts", time_unit="ns"), b"1763784741123456789,1,2", b"0.5,1,2", b"5.0,1,2")
    assert readings.times is not None
    assert readings.times.tolist() == [1763784741123456789, 0, 5]


def test_quoted_cells_with_separators_and_newlines() -> None:
    decoder = _csv(columns=["note", "x", "y"])
    assert _decode(decoder, b'"a, ""b""\nc",1,2\n"d",3,4').values.tolist() == [[1, 2], [3, 4]]


def test_a_word_names_its_channel() -> None:
    readings = _decode(_csv(), b"1,two", b"1,")
    assert [(each.reason, each.detail) for each in readings.rejected] == [(WRONG_TYPE, "y is not a number"), (WRONG_TYPE, "y is empty")]


def test_tags_become_labels_sorted_by_name() -> None:
    readings = _decode(_influx(), b"m,zone=b,area=a x=1,y=2 5", b"m,area=a,zone=b x=1,y=2 5", b"m x=1,y=2 5")
    assert readings.labels == [(("area", "a"), ("zone", "b")), (("area", "a"), ("zone", "b")), ()]


@pytest.mark.parametrize(
    "line",
    [
        b"m,a=b x=1,y=2 5",
        b"m,a=b x=1i,y=2u 5",
        b"m,a=b  x=1,y=2  5 \r\n",
        b"# comment\n\nm,a=b x=1,y=2 5\n# end",
        b'm,a=b s="text, with = and space \\" \\\\",x=1,y=2 5',
        b'm,a=b s="two\nlines # no comment",x=1,y=2 5\r\n',
        b"m\\,\\ m,a=b x\\ z=7,x=1,y=2 5",
        b"m,a=b with_underscore=1,x=1,y=2 5",
        b"m,a=b f=true,g=F,x=1,y=2 5",
    ],
)
def test_line_protocol_in_many_dresses(line: bytes) -> None:
    readings = _decode(_influx(time_unit="s"), line)
    assert readings.rejected == []
    assert readings.values.tolist() == [[1, 2]]
    assert readings.times is not None
    assert readings.times.tolist() == [5_000_000_000]
    assert readings.labels == [(("a", "b"),)]


def test_escapes_in_tags() -> None:
    readings = _decode(_influx(), rb"m,a\ b=c\,d,e\=f=g\h x=1,y=2 5")
    assert readings.labels == [(("a b", "c,d"), ("e=f", r"g\h"))]


def test_other_measurements_are_ignored_not_refused() -> None:
    decoder = _influx(measurement="a,c")
    readings = _decode(decoder, rb"a\,c,t=1 x=1,y=2 5", b"cpu usage=3i 5", b'cpu s="x" 5\n' + rb"a\,c x=3,y=4 6")
    assert readings.rejected == []
    assert readings.values.tolist() == [[1, 2], [3, 4]]
    assert readings.message.tolist() == [0, 2]


def test_a_comment_alone_is_ignored() -> None:
    assert _decode(_influx(), b"# hello").rejected == []


@pytest.mark.parametrize("piece", [b" ", b"\\", b"\\ ", b"#\n", b'"', b"a=", b",", b"\r", b"a b=1" + b" " * 20])
def test_long_lines_cost_linear_time(piece: bytes) -> None:
    """Would take hours if a pattern went back over what it has read."""
    for head in (b"", b'm,a=b s="x",x=1,y=2', b"m\\ ,a=b x=1"):
        _decode(_influx(), head + piece * (200_000 // len(piece)) + b"!")


def test_text() -> None:
    found = TextMessages(schema.TextDecoder()).decode([b"\xef\xbb\xbfgr\xc3\xbcn", b"\xff", None, b"", b" \t\n"], [b"t"] * 5)
    assert found.texts == ["grün", None, None, None, None]
    assert [(each.message, each.reason) for each in found.rejected] == [(1, MALFORMED), (2, TOO_LARGE), (3, EMPTY_TEXT), (4, EMPTY_TEXT)]
    assert TextMessages(schema.TextDecoder(encoding="latin-1")).decode([b"gr\xfcn"], [b"t"]).texts == ["grün"]
