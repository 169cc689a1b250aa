"""Results as bytes: what is written can be read back by the readers of each format."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.config import schema
from edged.records import ModelRef, Result, Timing, Window
from edged.stream.decoders.choose import make_decoder
from edged.stream.formats.choose import make_format

NAMES: list[schema.Format] = ["json", "cloudevents", "influx"]
every = pytest.mark.parametrize("name", NAMES)

# what CloudEvents and MQTT both forbid in strings
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def _result(**changes: Any) -> Result:
    made = Result(
        v=1,
        id="k3v5",
        time="2026-11-22T04:12:21.123Z",
        device="press-7",
        pipeline="pump",
        key="line=a/pump=7",
        labels={"line": "a", "pump": "7"},
        window=Window("2026-11-22T04:12:11.123Z", "2026-11-22T04:12:21.123Z", 260),
        model=ModelRef("pump-anomaly", "1.4.0", 14, "int8", "tflite"),
        output={"score": 9.71, "threshold": 12.3, "anomaly": False},
        timing=Timing(0.2, 0.05, 1.1),
    )
    return msgspec.structs.replace(made, **changes)


def _influx(line: bytes, *fields: str) -> tuple[list[float], int, dict[str, str]]:
    """Read a line with our own decoder: the values of `fields`, the time, the tags."""
    readings = make_decoder(schema.InfluxDecoder(channels=list(fields))).decode([line], [b"t"])
    assert readings.rejected == []
    assert readings.times is not None
    assert readings.labels is not None
    return readings.values[0].tolist(), int(readings.times[0]), dict(readings.labels[0])


strange = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@every
@given(labels=st.dictionaries(strange, strange, max_size=3), text=strange, key=strange)
@settings(max_examples=60, deadline=None)
def test_any_text_stays_on_one_line(name: schema.Format, labels: dict[str, str], text: str, key: str) -> None:
    line = make_format(name).encode(_result(labels=labels, key=key, output={"label": text, "score": 1.0}))
    assert b"\n" not in line
    line.decode()


def test_json_reads_back() -> None:
    result = _result(alarm=True, clock="arrival")
    assert msgspec.json.decode(make_format("json").encode(result), type=Result) == result


def test_json_leaves_out_what_is_not_said() -> None:
    written = msgspec.json.decode(make_format("json").encode(_result()))
    assert "alarm" not in written
    assert "clock" not in written
    assert list(written)[:7] == ["v", "id", "time", "device", "pipeline", "key", "labels"]


def test_json_writes_null_for_what_is_not_finite() -> None:
    output = {"score": float("nan"), "values": [1.0, float("inf")]}
    written = msgspec.json.decode(make_format("json").encode(_result(output=output)))
    assert written["output"] == {"score": None, "values": [1.0, None]}


def test_content_types() -> None:
    assert make_format("json").content_type == "application/json"
    assert make_format("cloudevents").content_type == "application/cloudevents+json"
    assert make_format("influx").content_type.startswith("text/plain")


def test_only_cloudevents_has_a_binary_mode() -> None:
    assert [make_format(name).encode_binary is not None for name in NAMES] == [False, True, False]


def test_a_structured_event_has_the_required_attributes() -> None:
    event = msgspec.json.decode(make_format("cloudevents").encode(_result()))
    assert event.pop("data") == msgspec.json.decode(make_format("json").encode(_result()))
    assert event == {
        "specversion": "1.0",
        "id": "k3v5",
        "source": "edged/press-7/pump",
        "type": "dev.edged.result.v1",
        "time": "2026-11-22T04:12:21.123Z",
        "subject": "line=a/pump=7",
        "datacontenttype": "application/json",
    }
    datetime.fromisoformat(event["time"].replace("Z", "+00:00"))


def test_a_binary_event_has_the_same_attributes_beside_the_plain_result() -> None:
    format_ = make_format("cloudevents")
    assert format_.encode_binary is not None
    payload, attributes = format_.encode_binary(_result())
    event = msgspec.json.decode(format_.encode(_result()))
    assert msgspec.json.decode(payload) == event.pop("data")
    assert attributes == event
    attributes.clear()
    assert format_.encode_binary(_result())[1] == event


def test_an_event_without_a_key_has_no_subject() -> None:
    """An attribute that is there must not be empty."""
    format_ = make_format("cloudevents")
    assert format_.encode_binary is not None
    assert "subject" not in format_.encode_binary(_result(key=""))[1]
    assert "subject" not in msgspec.json.decode(format_.encode(_result(key="")))


@given(key=strange, device=strange)
@settings(max_examples=60, deadline=None)
def test_attributes_have_no_forbidden_characters(key: str, device: str) -> None:
    format_ = make_format("cloudevents")
    assert format_.encode_binary is not None
    attributes = format_.encode_binary(_result(key=key, device=device))[1]
    event = msgspec.json.decode(format_.encode(_result(key=key, device=device)))
    event.pop("data")
    for found in (attributes, event):
        assert not any(CONTROL.search(value) for value in found.values())
        assert re.fullmatch(r"edged/[A-Za-z0-9._~%-]*/pump", found["source"])


def test_influx_reads_back() -> None:
    values, time, tags = _influx(make_format("influx").encode(_result()), "score", "threshold", "release", "latency_ms")
    assert values == pytest.approx([9.71, 12.3, 14, 1.1], rel=1e-6)
    assert time == 1_795_320_741_123_000_000
    assert tags == {"device": "press-7", "line": "a", "model": "pump-anomaly", "pump": "7", "variant": "int8"}


def test_influx_as_it_stands() -> None:
    assert make_format("influx").encode(_result(alarm=True, output={"label": 'a "b" \\', "score": 1, "anomaly": True})) == (
        b"pump,device=press-7,line=a,model=pump-anomaly,pump=7,variant=int8 "
        rb'release=14i,latency_ms=1.1,alarm=true,label="a \"b\" \\",score=1.0,anomaly=true '
        b"1795320741123000000"
    )


def test_influx_writes_values_each_and_leaves_nested_output_out() -> None:
    output = {"values": [1.5, float("nan"), 2], "scores": {"a": 1.0}, "score": float("inf"), "fields": None}
    line = make_format("influx").encode(_result(output=output))
    assert line.split(b" ")[1] == b"release=14i,latency_ms=1.1,v0=1.5,v2=2.0"
    line = make_format("influx").encode(_result(output={"vector": [0.25, -1.0]}))
    assert line.split(b" ")[1] == b"release=14i,latency_ms=1.1,v0=0.25,v1=-1.0"


def test_influx_labels_do_not_hide_our_own_tags() -> None:
    tags = _influx(make_format("influx").encode(_result(labels={"model": "m7", "x": "1"})), "score")[2]
    assert tags["model"] == "pump-anomaly"
    assert tags["label_model"] == "m7"


def test_influx_writes_no_tag_twice() -> None:
    """Names may become alike by what is escaped: no reader takes a line with such a pair."""
    tags = _influx(make_format("influx").encode(_result(labels={"a ": "1", "a\x1f": "2", "device\\": "3"})), "score")[2]
    assert tags == {"a ": "2", "label_device": "3", "device": "press-7", "model": "pump-anomaly", "variant": "int8"}


def test_influx_has_the_key_where_there_are_no_labels() -> None:
    assert _influx(make_format("influx").encode(_result(labels={}, key="a b/c")), "score")[2]["key"] == "a b/c"
    assert "key" not in _influx(make_format("influx").encode(_result(labels={}, key="")), "score")[2]


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8), max_size=3), st.text(max_size=8))
@settings(max_examples=150, deadline=None)
def test_influx_escapes_what_our_own_decoder_unescapes(labels: dict[str, str], text: str) -> None:
    """Names and values come back, but for control characters and backslashes at their end, which the format cannot hold."""

    def kept(value: str) -> str:
        return re.sub("[\x00-\x1f\x7f\ud800-\udfff]", " ", value).rstrip("\\")

    line = make_format("influx").encode(_result(labels=labels, output={"text": text, "score": 2.5}))
    values, _, tags = _influx(line, "score")
    assert values == [2.5]
    expected = {kept(name): kept(value) for name, value in labels.items() if kept(name) and kept(value)}
    for name, value in expected.items():
        if list(map(kept, labels)).count(name) == 1 and name not in ("device", "model", "variant"):
            assert tags[name] == value
