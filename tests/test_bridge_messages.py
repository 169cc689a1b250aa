"""Bodies of frames: round trips, each limit of PROTOCOL.md, and bodies that somebody made to do harm."""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.messages import (
    Ack,
    BadMessage,
    Channel,
    Event,
    Hello,
    Ping,
    Result,
    TimeAnswer,
    TimeQuestion,
    split_samples,
)
from tests.firmwares import VIBRO

letters = st.characters(exclude_categories=["Cs"])


def texts(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(letters, max_size=most).filter(lambda text: least <= len(text.encode()) <= most)


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
channels = st.builds(Channel, texts(1, 32), texts(0, 16), floats.filter(bool))
hellos = st.builds(
    Hello,
    texts(1, 32),
    texts(0, 16),
    st.sampled_from(["int16", "int32", "float32"]),
    st.integers(1, 100_000_000),
    st.floats(min_value=2.0**-19, max_value=1_000_000, width=32),
    st.integers(0, 16),
    st.lists(channels, min_size=1, max_size=16, unique_by=lambda channel: channel.name).map(tuple),
)
words, longs = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
messages = st.one_of(
    hellos,
    st.builds(Event, words, st.integers(-(2**31), 2**31 - 1), st.text(letters, max_size=50)),
    st.builds(TimeQuestion, st.integers(0, 2**64 - 1)),
    st.builds(TimeAnswer, st.integers(0, 2**64 - 1), longs, longs),
    st.builds(Result, texts(0, 32), st.one_of(st.none(), floats), st.booleans()),
    st.builds(Ack, words),
    st.builds(Ping, st.booleans()),
)
KINDS: list[Any] = [Hello, Event, TimeQuestion, TimeAnswer, Result, Ack, Ping]


@given(messages)
def test_what_is_encoded_is_decoded_again(message: Any) -> None:
    assert type(message).decode(message.encode()) == message


@given(messages.filter(lambda message: not isinstance(message, Event)), st.binary(min_size=1, max_size=8))
def test_fields_that_a_later_version_adds_are_passed_over(message: Any, added: bytes) -> None:
    assert type(message).decode(message.encode() + added) == message


@pytest.mark.parametrize("kind", KINDS)
@given(body=st.binary(max_size=120))
def test_a_hostile_body_is_refused_or_read_but_nothing_else(kind: Any, body: bytes) -> None:
    try:
        message = kind.decode(body)
    except BadMessage:
        return
    assert type(message) is kind


@given(messages.filter(lambda message: not isinstance(message, Event)), st.data())
def test_a_body_that_ends_early_is_refused(message: Any, data: st.DataObject) -> None:
    body = message.encode()
    with pytest.raises(BadMessage):
        type(message).decode(body[: data.draw(st.integers(0, len(body) - 1))])


@given(hellos, st.data())
def test_a_hello_with_a_changed_byte_is_refused_or_keeps_to_the_limits(hello: Hello, data: st.DataObject) -> None:
    body = bytearray(hello.encode())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = Hello.decode(bytes(body))
    except BadMessage:
        return
    assert Hello.decode(read.encode()) == read


def test_the_longest_hello_fits_into_a_frame() -> None:
    longest = dataclasses.replace(
        VIBRO, firmware="f" * 32, version="v" * 16, channels=tuple(Channel(f"{i:032}", "u" * 16, 1.0) for i in range(16))
    )
    assert len(longest.encode()) == 926
    assert Hello.decode(longest.encode()) == longest


def channel(**changes: Any) -> dict[str, Any]:
    return {"channels": (dataclasses.replace(VIBRO.channels[0], **changes),)}


AT_THE_LIMIT: dict[str, dict[str, Any]] = {
    "one channel": {"channels": VIBRO.channels[:1]},
    "sixteen channels": {"channels": tuple(Channel(str(i), "", 1.0) for i in range(16))},
    "no window": {"window": 0},
    "a window of sixteen": {"window": 16},
    "one tick a second": {"tick_hz": 1},
    "100 MHz": {"tick_hz": 100_000_000},
    "the slowest rate": {"rate_hz": struct.unpack("<f", struct.pack("<f", 1e-6))[0]},
    "the fastest rate": {"rate_hz": 1_000_000.0},
    "a name of one byte": {"firmware": "v"},
    "a name of 32 bytes": {"firmware": "ä" * 16},
    "no version": {"version": ""},
    "a version of 16 bytes": {"version": "v" * 16},
    "a channel name of 32 bytes": channel(name="ä" * 16),
    "a unit of 16 bytes": channel(unit="€" * 5 + "s"),
    "no unit": channel(unit=""),
    "a negative scale": channel(scale=-1.0),
    "the smallest scale": channel(scale=2.0**-149),
}
BEYOND: dict[str, dict[str, Any]] = {
    "no channel": {"channels": ()},
    "seventeen channels": {"channels": tuple(Channel(str(i), "", 1.0) for i in range(17))},
    "a window of seventeen": {"window": 17},
    "no ticks": {"tick_hz": 0},
    "more than 100 MHz": {"tick_hz": 100_000_001},
    "no rate": {"rate_hz": 0.0},
    "a rate below a millionth": {"rate_hz": 9e-7},
    "a negative rate": {"rate_hz": -26.0},
    "a rate that is no number": {"rate_hz": math.nan},
    "an endless rate": {"rate_hz": math.inf},
    "a rate above a million": {"rate_hz": 1_000_000.1},
    "no name": {"firmware": ""},
    "a name of 33 bytes": {"firmware": "ä" * 16 + "v"},
    "a version of 17 bytes": {"version": "v" * 17},
    "a channel without a name": channel(name=""),
    "a channel name of 33 bytes": channel(name="n" * 33),
    "two channels of one name": {"channels": VIBRO.channels[:1] * 2},
    "a unit of 17 bytes": channel(unit="u" * 17),
    "a scale of 0": channel(scale=0.0),
    "a scale that is no number": channel(scale=math.nan),
    "an endless scale": channel(scale=-math.inf),
}


def raw(hello: Hello, kind: int = 1, reserved: int = 0) -> bytes:
    """Give the body of a HELLO without asking whether it is allowed."""

    def text(text: str) -> bytes:
        return bytes([len(text.encode())]) + text.encode()

    head = struct.pack("<BBBBIf", kind, len(hello.channels), hello.window, reserved, hello.tick_hz, hello.rate_hz)
    each = [text(channel.name) + text(channel.unit) + struct.pack("<f", channel.scale) for channel in hello.channels]
    return head + text(hello.firmware) + text(hello.version) + b"".join(each)


@pytest.mark.parametrize("changes", AT_THE_LIMIT.values(), ids=AT_THE_LIMIT)
def test_a_hello_at_a_limit_is_taken(changes: dict[str, Any]) -> None:
    hello = dataclasses.replace(VIBRO, **changes)
    assert hello.encode() == raw(hello)
    assert Hello.decode(raw(hello)) == hello


@pytest.mark.parametrize("changes", BEYOND.values(), ids=BEYOND)
def test_a_hello_beyond_a_limit_is_neither_taken_nor_made(changes: dict[str, Any]) -> None:
    hello = dataclasses.replace(VIBRO, **changes)
    with pytest.raises(BadMessage):
        Hello.decode(raw(hello))
    with pytest.raises(BadMessage):
        hello.encode()


@pytest.mark.parametrize(("kind", "reserved"), [(0, 0), (4, 0), (255, 0), (1, 1)])
def test_a_hello_of_an_unknown_kind_is_refused(kind: int, reserved: int) -> None:
    with pytest.raises(BadMessage):
        Hello.decode(raw(VIBRO, kind, reserved))


def test_values_that_are_out_of_range_as_float32_are_refused() -> None:
    for changes in (channel(scale=1e300), channel(scale=1e-300), {"rate_hz": 1e300}, {"rate_hz": 1e-300}):
        with pytest.raises(BadMessage):
            dataclasses.replace(VIBRO, **changes).encode()


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(BadMessage, match="UTF-8"):
        Hello.decode(raw(VIBRO).replace(b"vibro", b"vi\xffro"))


@pytest.mark.parametrize(("kind", "size"), [("int16", 6), ("int32", 12), ("float32", 12)])
def test_a_reading_has_one_sample_of_each_channel(kind: Any, size: int) -> None:
    hello = dataclasses.replace(VIBRO, kind=kind)
    assert hello.reading_bytes == size
    samples = split_samples(b"\x01\x02\x03\x04" + b"s" * size * 5, hello)
    assert (samples.tick, samples.count, samples.data) == (0x04030201, 5, b"s" * size * 5)


@pytest.mark.parametrize("size", [0, 3, 4, 9, 11, 15, 4 + 6 * 168 + 1])
def test_samples_that_do_not_fit_are_refused(size: int) -> None:
    with pytest.raises(BadMessage):
        split_samples(bytes(size), VIBRO)


def test_the_words_of_an_event_are_shown_even_if_they_are_not_utf8() -> None:
    assert Event.decode(b"\x07\0\xfb\xff\xff\xffover\xff").text == "over\N{REPLACEMENT CHARACTER}"


@given(st.text(), st.one_of(st.none(), st.floats()), st.booleans())
def test_any_result_can_be_sent(label: str, score: float | None, alarm: bool) -> None:
    """Labels are a model's, of any length; a score may be what float32 cannot hold."""
    sent = Result.decode(Result(label, score, alarm).encode())
    assert sent.alarm == alarm
    assert (sent.score is None) == (score is None)
    assert label.encode("utf-8", "replace").decode().startswith(sent.label)
    assert len(sent.label.encode()) <= 32
    if len(label.encode("utf-8", "replace")) <= 32:
        assert sent.label == label.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("label", "kept"), [("a" * 33, "a" * 32), ("ä" * 17, "ä" * 16), ("a" + "ä" * 16, "a" + "ä" * 15), ("€" * 11, "€" * 10)]
)
def test_a_long_label_is_cut_at_a_characters_end(label: str, kept: str) -> None:
    assert Result.decode(Result(label, None, alarm=False).encode()).label == kept


def test_a_label_of_33_bytes_is_refused() -> None:
    with pytest.raises(BadMessage, match="32"):
        Result.decode(struct.pack("<BBf", 0, 0, 0.0) + bytes([33]) + b"a" * 33)


@pytest.mark.parametrize("body", [b"", b"\x02", b"\xff\x01"])
def test_a_ping_that_wants_what_nobody_knows_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        Ping.decode(body)
