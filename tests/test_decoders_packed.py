"""Binary records against Python's own struct."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.config import schema
from edged.errors import OperatorError
from edged.records import BAD_TIME, OUT_OF_RANGE, Readings
from edged.stream.decoders.choose import make_decoder


def _decode(payloads: list[bytes | None], **options: Any) -> Readings:
    return make_decoder(schema.PackedDecoder(**options)).decode(payloads, [b"t"] * len(payloads))


@pytest.mark.parametrize("order", "<>=!")
@pytest.mark.parametrize("letter", "bBhHiIlLqQefd")
def test_each_letter_in_each_order(order: str, letter: str) -> None:
    values = [0, 1, 100] if letter in "BHILQ" else [-100, -1, 100]
    data = struct.pack(f"{order}3{letter}", *values)
    assert _decode([data], layout=f"{order}3{letter}", channels=["a", "b", "c"]).values.tolist() == [values]


@given(st.lists(st.lists(st.tuples(*[st.integers(-(2**15), 2**15 - 1)] * 3), min_size=1, max_size=5), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_records_as_struct_writes_them(messages: list[list[tuple[int, int, int]]]) -> None:
    payloads: list[bytes | None] = [b"".join(struct.pack("<hhh", *record) for record in records) for records in messages]
    readings = _decode(payloads, layout="<hhh", channels=["x", "y", "z"], scale=0.00025)
    records = np.array([record for records in messages for record in records])
    np.testing.assert_allclose(readings.values, records * 0.00025, rtol=3e-7)
    assert readings.message.tolist() == [i for i, records in enumerate(messages) for _ in records]
    assert readings.times is None


def test_pads_and_unused_fields_and_order_of_channels() -> None:
    data = struct.pack("<BxxIhh3x", 9, 5000, 1, 2) + struct.pack("<BxxIhh3x", 8, 6000, 3, 4)
    readings = _decode([data], layout="<BxxIhh3x", fields=["flags", "t", "x", "y"], channels=["y", "x"], time="t", scale=[2.0, 0.5])
    assert readings.values.tolist() == [[4, 0.5], [8, 1.5]]
    assert readings.times is not None
    assert readings.times.tolist() == [5_000_000_000, 6_000_000_000]


def test_integer_times_of_64_bits_stay_exact() -> None:
    data = struct.pack("<Qb", 1763784741123456789, 1)
    readings = _decode([data], layout="<Qb", channels=["x"], time="t", time_unit="ns")
    assert readings.times is not None
    assert readings.times.tolist() == [1763784741123456789]


@pytest.mark.parametrize("letter", "efd")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_float_times_that_are_no_time(letter: str, value: float) -> None:
    good = struct.pack(f"<{letter}b", 1.5, 1)
    readings = _decode([good, struct.pack(f"<{letter}b", value, 1), good], layout=f"<{letter}b", channels=["x"], time="t", time_unit="s")
    assert [(each.message, each.reason) for each in readings.rejected] == [(1, BAD_TIME)]
    assert readings.times is not None
    assert readings.times.tolist() == [1_500_000_000] * 2


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_unsigned_times_beyond_int64(value: int) -> None:
    readings = _decode([struct.pack("<Qb", value, 1)], layout="<Qb", channels=["x"], time="t", time_unit="ns")
    assert [each.reason for each in readings.rejected] == [BAD_TIME]


def test_a_scale_that_lifts_values_beyond_float32() -> None:
    data: list[bytes | None] = [struct.pack("<h", 1), struct.pack("<h", 30000)]
    readings = _decode(data, layout="<h", channels=["x"], scale=1e35)
    assert [(each.message, each.reason) for each in readings.rejected] == [(1, OUT_OF_RANGE)]


def test_a_double_is_scaled_before_it_must_fit() -> None:
    assert _decode([struct.pack("<d", 1e40)], layout="<d", channels=["x"], scale=1e-40).values.tolist() == [[1]]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"layout": "hhh", "channels": ["x", "y", "z"]}, "bad-layout"),
        ({"layout": "<hhs", "channels": ["x", "y", "z"]}, "bad-layout"),
        ({"layout": "<hh", "channels": ["x", "y", "z"]}, "bad-fields"),
        ({"layout": "<hh", "channels": ["x"], "fields": ["x", "x"]}, "bad-fields"),
        ({"layout": "<hh", "channels": ["x", "z"], "fields": ["x", "y"]}, "bad-fields"),
        ({"layout": "<hh", "channels": ["x", "y"], "fields": ["x", "y"], "time": "t"}, "bad-fields"),
        ({"layout": "<hh", "channels": ["x", "y"], "scale": [1.0]}, "bad-scale"),
        ({"layout": "<hh", "channels": ["x", "y"], "scale": float("nan")}, "bad-scale"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], code: str) -> None:
    with pytest.raises(OperatorError) as error:
        _decode([], **options)
    assert error.value.code == code
