"""Heads: labels from embeddings, only with the model they were fitted on; every wrong file is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engines.head import Head
from edged.errors import BoardError, PublisherError
from tests.linears import LABELS, SHA256, head_arrays, written

GOOD = head_arrays()


def refused(path: Path, model: str = SHA256) -> tuple[str, str]:
    with pytest.raises(PublisherError) as caught:
        Head.read(path, LABELS, model)
    assert caught.value.hint == "fit it again with `edged fit classifier`"
    return caught.value.code, caught.value.text


def test_log_odds_are_those_of_a_logistic_regression_on_scaled_values(tmp_path: Path):
    head = Head.read(written(tmp_path / "head.npz", GOOD), LABELS, SHA256)
    logits = head.logits(np.array([[3, 2, 4], [1, 0, 0]], np.float32))
    assert logits.dtype == np.float64
    assert logits.tolist() == [[1 + 2, 2.5], [0, 0.5]]
    assert head.logits(np.empty((0, 3), np.float32)).shape == (0, 2)


def test_labels_come_in_the_order_of_the_manifest(tmp_path: Path):
    path = written(tmp_path / "head.npz", GOOD)
    given_ = np.array([[3, 2, 4]], np.float32)
    turned = Head.read(path, LABELS[::-1], SHA256).logits(given_)
    assert turned[:, ::-1].tolist() == Head.read(path, LABELS, SHA256).logits(given_).tolist()


def test_a_head_of_another_model_file_is_refused(tmp_path: Path):
    code, text = refused(written(tmp_path / "head.npz", GOOD), "cd" * 32)
    assert code == "head-mismatch"
    assert "abababababab" in text
    assert "cdcdcdcdcdcd" in text


def test_embeddings_of_another_width_are_refused(tmp_path: Path):
    head = Head.read(written(tmp_path / "head.npz", GOOD), LABELS, SHA256)
    for shape in ((2, 4), (3,)):
        with pytest.raises(PublisherError) as caught:
            head.logits(np.zeros(shape, np.float32))
        assert caught.value.code == "head-mismatch"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": np.int64(2)}, "`format` is not 1"),
        ({"labels": np.array(["pump", "motor"])}, "lacks 'valve' and has 'motor'"),
        ({"mean": None}, "no array `mean`"),
        ({"mean": np.float32(1)}, "`mean` is a single value"),
        ({"mean": np.empty(0, np.float32)}, "`mean` has 0 values"),
        ({"mean": GOOD["mean"][:2]}, "`scale` is float32 [3], and float32 [2] is wanted"),
        ({"scale": np.array([2, 0, 1], np.float32)}, "`scale` has values that are not above 0"),
        ({"scale": GOOD["scale"].astype(np.float16)}, "`scale` is float16"),
        ({"coef": GOOD["coef"].T}, "`coef` is float32 [2, 3]"),
        ({"coef": GOOD["coef"] + np.float32(np.inf)}, "`coef` has values that are not within"),
        ({"intercept": np.array([np.nan, 0])}, "`intercept` has values that are not within"),
        ({"pooling": np.array("last")}, "`pooling` is not `mean`"),
        ({"pooling": np.array(["mean"])}, "`pooling` has shape [1]"),
        ({"pooling": np.int64(1)}, "texts are wanted"),
        ({"model": np.array([SHA256])}, "`model` has shape [1]"),
    ],
)
def test_a_file_that_is_wrong_is_refused_and_says_where(tmp_path: Path, changes: dict[str, Any], text: str):
    code, said = refused(written(tmp_path / "head.npz", GOOD, **changes))
    assert code == "model-not-loadable"
    assert text in said


def test_a_file_that_is_not_there_is_the_boards(tmp_path: Path):
    with pytest.raises(BoardError) as caught:
        Head.read(tmp_path / "head.npz", LABELS, SHA256)
    assert caught.value.code == "model-file-missing"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_values_of_a_file_raise_anything_but_our_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    arrays = {name: bytearray(array.tobytes()) for name, array in GOOD.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        content = arrays[data.draw(st.sampled_from(sorted(arrays)))]
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    changed = {name: np.frombuffer(bytes(content), GOOD[name].dtype).reshape(GOOD[name].shape) for name, content in arrays.items()}
    path = tmp_path_factory.getbasetemp() / "changed-head.npz"
    np.savez(path, **changed)
    with contextlib.suppress(PublisherError):
        assert np.isfinite(Head.read(path, LABELS, SHA256).logits(np.ones((2, 3), np.float32))).all()
