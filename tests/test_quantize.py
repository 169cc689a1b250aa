"""Float to a tensor's integers and back, against the plain formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.engines.base import Tensor
from edged.engines.quantize import INTEGERS, Affine

dtypes = st.sampled_from(INTEGERS)
scales = st.floats(2**-20, 2**20, width=32)
floats = st.lists(st.floats(width=32), min_size=1, max_size=40)


def tensor(dtype: str, scale: float, zero_point: int) -> Tensor:
    return Tensor("t", (), dtype, scale, zero_point, False)


def plain(value: float, dtype: str, scale: float, zero_point: int) -> int:
    """Multiply by the reciprocal in float32, round halves to even, add, saturate."""
    bounds = np.iinfo(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = float(np.float32(value) * (np.float32(1) / np.float32(scale)))
    if math.isinf(steps):
        return int(bounds.max if steps > 0 else bounds.min)
    return int(min(max(round(steps) + zero_point, bounds.min), bounds.max))


@given(dtypes, scales, st.data(), floats)
def test_quantizing_is_the_plain_formula_for_every_float(dtype: str, scale: float, data: st.DataObject, values: list[float]) -> None:
    bounds = np.iinfo(dtype)
    zero_point = data.draw(st.integers(int(bounds.min), int(bounds.max)))
    values = [value for value in values if not math.isnan(value)] + [scale * 0.5, scale * -0.5, scale * 1.5, scale * -2.5]

    got, holes = Affine(tensor(dtype, scale, zero_point)).quantize(np.array([values], np.float32))

    assert holes is None
    assert got.dtype == dtype
    assert got.ravel().tolist() == [plain(value, dtype, scale, zero_point) for value in values]


@given(dtypes, scales, st.data())
def test_integers_come_back_as_themselves(dtype: str, scale: float, data: st.DataObject) -> None:
    bounds = np.iinfo(dtype)
    affine = Affine(tensor(dtype, scale, data.draw(st.integers(int(bounds.min), int(bounds.max)))))
    integers = np.array([data.draw(st.lists(st.integers(int(bounds.min), int(bounds.max)), min_size=1, max_size=40))], dtype)

    got, _ = affine.quantize(affine.dequantize(integers))

    np.testing.assert_array_equal(got, integers)


@given(dtypes, scales, st.data())
def test_dequantizing_is_the_plain_formula_rounded_once(dtype: str, scale: float, data: st.DataObject) -> None:
    bounds = np.iinfo(dtype)
    zero_point, value = (data.draw(st.integers(int(bounds.min), int(bounds.max))) for _ in range(2))

    got = Affine(tensor(dtype, scale, zero_point)).dequantize(np.array([value], dtype))

    assert got.dtype == np.float32
    assert got.item() == float(np.float32((value - zero_point) * scale))


def test_halves_go_to_the_even_neighbour() -> None:
    got, _ = Affine(tensor("int8", 1.0, 0)).quantize(np.float32([[0.5, -0.5, 1.5, 2.5, -2.5, 0.50000006, -0.49999997]]))

    assert got.tolist() == [[0, 0, 2, 2, -2, 1, 0]]


def test_nan_is_the_zero_point_and_its_window_is_named() -> None:
    got, holes = Affine(tensor("int8", 0.5, 7)).quantize(np.float32([[1, 2], [np.nan, np.inf], [3, -np.inf]]))

    assert holes is not None
    assert holes.tolist() == [False, True, False]
    assert got.tolist() == [[9, 11], [7, 127], [13, -128]]


def test_without_a_scale_the_integers_are_the_values() -> None:
    affine = Affine(tensor("uint8", 0.0, 0))

    assert affine.quantize(np.float32([[0, 1.4, 254.6, 300, -1]]))[0].tolist() == [[0, 1, 255, 255, 0]]
    assert affine.dequantize(np.array([[0, 255]], np.uint8)).tolist() == [[0.0, 255.0]]


@pytest.mark.parametrize(("scale", "zero_point"), [(math.nan, 0), (math.inf, 0), (-1.0, 0), (3e38, 0), (1e-45, 0), (1.0, 128), (1.0, -129)])
def test_a_scale_or_zero_point_that_no_converter_writes_is_refused(scale: float, zero_point: int) -> None:
    with pytest.raises(ValueError, match="scale"):
        Affine(tensor("int8", scale, zero_point))
