"""What a serial line brings to readings: blocks that describe themselves, lines of sketches, and anything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.models.schema import Input
from edged.records import Readings
from edged.stream.blocks import MAGIC, pack_block, read_head
from edged.stream.decoders.bridge import MAX_HELLOS, Bridge
from firmware_bridge.messages import Channel, Hello

XYZ = Input(kind="window", channels=["x", "y", "z"], samples=4, hop=4, rate_hz=26.0)
S = 1_000_000_000


def hello(*names: str, kind: str = "int16", rate_hz: float = 26.0, scale: float = 0.5) -> bytes:
    channels = tuple(Channel(name, "mg", scale) for name in names or ("x", "y", "z"))
    return Hello("vibro", "1.2", kind, 1_000_000, rate_hz, 2, channels).encode()


def block(rows: list[list[float]], *names: str, kind: str = "int16", first: int = S, last: int = 3 * S, **more: float) -> bytes:
    dtype = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}[kind]
    return pack_block(hello(*names, kind=kind, **more), first, last, np.array(rows, dtype).tobytes())


def decode(*payloads: bytes | None, wants: Input = XYZ) -> Readings:
    return Bridge(wants).decode(list(payloads), [b"/dev/ttyACM0"] * len(payloads))


def reasons(readings: Readings) -> list[tuple[int, str]]:
    return [(each.message, each.reason) for each in readings.rejected]


@pytest.mark.parametrize("kind", ["int16", "int32", "float32"])
def test_a_block_gives_scaled_readings_spread_between_its_times(kind: str) -> None:
    readings = decode(block([[2, 4, 6], [8, 10, 12], [14, 16, 18]], kind=kind))
    assert readings.values.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert readings.values.dtype == np.float32
    assert readings.times is not None
    assert readings.times.tolist() == [S, 2 * S, 3 * S]
    assert readings.rejected == []


def test_blocks_of_one_batch_keep_their_order_and_their_message() -> None:
    readings = decode(block([[2, 4, 6]], first=S, last=S), block([[2, 2, 2], [4, 4, 4]], first=2 * S, last=3 * S))
    assert readings.message.tolist() == [0, 1, 1]
    assert readings.times is not None
    assert readings.times.tolist() == [S, 2 * S, 3 * S]


def test_channels_are_found_by_their_names_whatever_their_order() -> None:
    assert decode(block([[2, 4, 6, 8]], "temp", "z", "y", "x")).values.tolist() == [[4, 3, 2]]
    assert decode(block([[2, 4, 6]], "acc.z", "acc.y", "acc.x")).values.tolist() == [[3, 2, 1]]


def test_channels_with_other_names_are_taken_in_their_order_where_there_are_as_many() -> None:
    assert decode(block([[2, 4, 6]], "ax", "ay", "az")).values.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("names", [("x", "y"), ("x", "y", "w"), ("ax", "ay")])
def test_a_firmware_that_lacks_a_channel_is_refused_with_both_sides_named(names: tuple[str, ...]) -> None:
    readings = decode(block([[2] * len(names)], *names))
    assert reasons(readings) == [(0, "channels-do-not-match")]
    assert readings.rejected[0].detail == f"{', '.join(names)} instead of x, y, z"


def test_a_rate_that_is_another_is_refused_and_one_that_is_a_little_off_is_not() -> None:
    assert reasons(decode(block([[2, 4, 6]], rate_hz=104.0))) == [(0, "rate-does-not-match")]
    assert reasons(decode(block([[2, 4, 6]], rate_hz=25.0))) == []


def test_a_firmware_that_was_flashed_anew_is_read_by_its_new_hello() -> None:
    readings = decode(block([[2, 4, 6]]), block([[2, 4, 6, 8]], "w", "x", "y", "z", kind="float32"), block([[4, 4, 4]]))
    assert readings.values.tolist() == [[1, 2, 3], [2, 3, 4], [2, 2, 2]]
    assert readings.message.tolist() == [0, 1, 2]


def test_each_wrong_block_is_refused_and_touches_no_other() -> None:
    good = block([[2, 4, 6]])
    bad_scale = block([[1, 1, float("nan")]], kind="float32")
    half = block([[2, 4, 6]])[:-1]
    backwards = block([[2, 4, 6]], first=2, last=1)
    other = block([[2, 4]], "x", "y")
    readings = decode(half, good, bad_scale, MAGIC, None, b"a print", backwards, other, block([]), good)
    assert readings.message.tolist() == [1, 9]
    found = dict(reasons(readings))
    assert found == {
        0: "wrong-length",
        2: "not-finite",
        3: "malformed",
        4: "too-large",
        5: "debug-print",
        6: "malformed",
        7: "channels-do-not-match",
        8: "wrong-length",
    }
    assert sorted(found) == [each.message for each in readings.rejected]


def test_a_thousand_firmwares_do_not_fill_the_memory() -> None:
    decoder = Bridge(XYZ)
    for i in range(1000):
        decoder.decode([block([[2, 4, 6]], "x", "y", "z", f"n{i}", kind="int16") + b"\0\0"], [b"t"])
    assert len(decoder._plans) <= MAX_HELLOS


@given(
    st.lists(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda rest: MAGIC + rest), st.none()), min_size=1, max_size=6)
)
def test_hostile_payloads_are_counted_and_never_raise(payloads: list[bytes | None]) -> None:
    readings = decode(*payloads)
    assert np.isfinite(readings.values).all()
    assert {each.message for each in readings.rejected}.isdisjoint(readings.message.tolist())


@given(st.data())
def test_a_block_with_any_byte_changed_never_raises(data: st.DataObject) -> None:
    payload = bytearray(block([[2, 4, 6], [8, 10, 12]]))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    readings = decode(bytes(payload))
    assert len(readings) + len(readings.rejected) >= 1 or read_head(bytes(payload)) is None


def test_plain_lines_are_the_models_channels_in_their_order() -> None:
    readings = decode(b"1.02,-0.3,9.8", b"1;2;3", b"4\t5\t6", b"7 8  9")
    assert readings.values.tolist() == np.array([[1.02, -0.3, 9.8], [1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32).tolist()
    assert readings.times is None


def test_pairs_and_json_are_read_by_their_names() -> None:
    readings = decode(b"z:3,y:2,x:1", b'{"acc": {"z": 3, "x": 1, "y": 2}, "t": 5}')
    assert readings.values.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_a_header_says_which_column_is_which_until_there_is_another() -> None:
    decoder = Bridge(XYZ)
    readings = decoder.decode([b"t,z,y,x", b"100,3,2,1"], [b"p"] * 2)
    assert readings.values.tolist() == [[1, 2, 3]]
    assert readings.rejected == []
    assert decoder.decode([b"101,6,5,4"], [b"p"]).values.tolist() == [[4, 5, 6]]


def test_a_header_that_was_seen_holds_after_a_new_release() -> None:
    before = Bridge(XYZ)
    before.decode([b"t,z,y,x"], [b"p"])
    assert Bridge(XYZ, before).decode([b"100,3,2,1"], [b"p"]).values.tolist() == [[1, 2, 3]]


def test_names_of_which_one_is_missing_are_refused_instead_of_taken_in_order() -> None:
    readings = decode(b"x:1,y:2,w:3")
    assert [(each.reason, each.detail) for each in readings.rejected] == [("missing-channel", "z")]


def test_debug_prints_between_readings_are_counted_and_disturb_none() -> None:
    readings = decode(b"starting up, please wait", b"1,2,3", b"WiFi connected", b"4,5,6", b"[I] heap 20312")
    assert readings.values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert {reason for _, reason in reasons(readings)} == {"debug-print"}


def test_a_line_with_another_number_of_numbers_is_refused() -> None:
    readings = decode(b"1,2,3", b"1,2", b"1,2,3,4")
    assert reasons(readings) == [(1, "wrong-length"), (2, "wrong-length")]
    assert "the model wants 3: x, y, z" in readings.rejected[0].detail


def test_a_sensor_that_prints_nan_is_seen() -> None:
    assert reasons(decode(b"1,2,3", b"1,nan,3")) == [(1, "not-finite")]


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 3), min_size=1, max_size=20))
def test_lines_give_what_they_say(rows: list[tuple[float, float, float]]) -> None:
    lines = [",".join(repr(value) for value in row).encode() for row in rows]
    assert decode(*lines).values.tolist() == [list(row) for row in rows]
