"""Files of engine linear that are wrong in every way: each is refused and says why; and texts in .npz files."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engines.linear import LinearEngine
from edged.engines.text import TextUse
from edged.errors import BoardError, PublisherError
from edged.npz import read_arrays
from tests.linears import LABELS, linear_arrays, written

USE = TextUse("classify", labels=LABELS)
GOOD = linear_arrays()


def refused(path: Path, use: TextUse = USE) -> str:
    with pytest.raises(PublisherError) as caught:
        LinearEngine(path, use)
    assert (caught.value.code, caught.value.hint) == ("model-not-loadable", "fit it again with `edged fit classifier`")
    return caught.value.text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"coef": None}, "no array `coef`"),
        ({"format": np.int64(2)}, "`format` is not 1"),
        ({"format": np.int64(-1)}, "`format`"),
        ({"format": np.int32(1)}, "`format` is int32 []"),
        ({"format": np.array([1])}, "`format` is int64 [1]"),
        ({"labels": np.array([1, 2])}, "texts are wanted"),
        ({"labels": np.array(["pump", "pump"])}, "`labels` has one of them twice"),
        ({"labels": np.array(["pump", "motor"])}, "lacks 'valve' and has 'motor'"),
        ({"labels": np.array(["pump"])}, "lacks 'valve'"),
        ({"labels": np.array("pump")}, "`labels` has shape []"),
        ({"labels": np.array([], np.str_)}, "`labels` are 0"),
        ({"words": GOOD["words"][::-1]}, "`words` is not in ascending order"),
        ({"words": np.array(["leak", "leak", "stuck"])}, "`words` is not in ascending order"),
        ({"words": np.array(["leak", "oil  leak", "stuck"])}, "not of 1 to 2 words"),
        ({"words": np.array(["a b c", "oil leak", "stuck"])}, "not of 1 to 2 words"),
        ({"words": GOOD["words"][:2]}, "`split` is 3, and not 2 to 2"),
        ({"words": GOOD["words"][:, None]}, "`words` has shape [3, 1]"),
        ({"words": GOOD["words"].astype(object)}, "pickled"),
        ({"words": GOOD["words"].astype("S8")}, "texts are wanted"),
        ({"words": GOOD["words"][:0], "chars": GOOD["chars"][:0], "split": np.int64(0)}, "are 0 together"),
        ({"chars": np.array(["", "ak ", "l"])}, "not of 1 to 3 characters"),
        ({"chars": np.array([" stuck", "ak ", "l"])}, "not of 1 to 3 characters"),
        ({"word_range": np.array([0, 2])}, "`word_range` is 0 to 2"),
        ({"word_range": np.array([2, 1])}, "`word_range` is 2 to 1"),
        ({"word_range": np.array([1, 4])}, "`word_range` is 1 to 4"),
        ({"char_range": np.array([1, 3, 5])}, "`char_range` is int64 [3]"),
        ({"char_range": np.array([1, 1 << 40])}, "`char_range`"),
        ({"idf": GOOD["idf"][:5]}, "`idf` is float32 [5], and float32 [6] is wanted"),
        ({"idf": -GOOD["idf"]}, "`idf` has values that are not above 0"),
        ({"idf": GOOD["idf"].astype(np.float64)}, "`idf` is float64"),
        ({"coef": GOOD["coef"].T}, "`coef` is float32 [2, 6]"),
        ({"coef": GOOD["coef"] * np.float32(np.nan)}, "`coef` has values that are not within"),
        ({"coef": GOOD["coef"] + np.float32(1e30)}, "`coef` has values that are not within"),
        ({"intercept": np.array([0, np.inf])}, "`intercept` has values that are not within"),
        ({"intercept": np.zeros(3)}, "`intercept` is float64 [3]"),
        ({"lowercase": np.int64(2)}, "`lowercase` is 2"),
        ({"sublinear": np.bool_(True)}, "no tensor"),
        ({"split": np.int64(4)}, "`split` is 4"),
    ],
)
def test_a_file_that_is_wrong_is_refused_and_says_where(tmp_path: Path, changes: dict[str, Any], text: str):
    assert text in refused(written(tmp_path / "words.npz", GOOD, **changes))


def test_labels_of_the_manifest_that_the_file_has_not_are_named(tmp_path: Path):
    path = written(tmp_path / "words.npz", GOOD)
    assert "lacks 'motor'" in refused(path, TextUse("classify", labels=(*LABELS, "motor")))
    assert "has 'valve'" in refused(path, TextUse("classify", labels=("pump",)))


def test_a_file_that_is_not_there_is_the_boards(tmp_path: Path):
    with pytest.raises(BoardError) as caught:
        LinearEngine(tmp_path / "words.npz", USE)
    assert caught.value.code == "model-file-missing"


def test_what_is_no_npz_is_refused(tmp_path: Path):
    (tmp_path / "words.npz").write_bytes(b"GGUF" * 100)
    assert "words.npz" in refused(tmp_path / "words.npz")


@pytest.mark.parametrize("code_point", [0xD800, 0xDFFF, 0x110000, 0xFFFFFFFF])
def test_texts_that_are_no_unicode_are_refused(tmp_path: Path, code_point: int):
    words = np.array([[ord("a")], [ord("b")], [code_point]], np.uint32).view("<U1").ravel()
    assert "no characters" in refused(written(tmp_path / "words.npz", GOOD, words=words))


def test_texts_are_read_where_they_are_asked_for_and_nowhere_else(tmp_path: Path):
    texts = np.array(["", "ß", "\U0010ffff", "x" * 3000])
    np.savez(tmp_path / "x.npz", texts=texts, numbers=np.arange(3), one=np.array("ä"))
    read = read_arrays(tmp_path / "x.npz", ("texts", "numbers", "one"), ("texts", "one"))
    assert read["texts"].tolist() == texts.tolist()
    assert read["one"].tolist() == "ä"
    for texts_asked in ((), ("texts", "numbers")):
        with pytest.raises(PublisherError) as caught:
            read_arrays(tmp_path / "x.npz", ("texts", "numbers"), texts_asked)
        assert caught.value.code == "npz-malformed"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_of_a_file_raise_anything_but_our_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    buffer = io.BytesIO()
    np.savez(buffer, **GOOD)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    path = tmp_path_factory.getbasetemp() / "fuzzed-words.npz"
    path.write_bytes(content)
    with contextlib.suppress(PublisherError):
        assert np.isfinite(LinearEngine(path, USE).scores(["oil leak", "stuck", ""])).all()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_values_of_a_file_raise_anything_but_our_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """Checksums of the zip let few changed bytes through; here the arrays are changed before they are written."""
    arrays = {name: bytearray(array.tobytes()) for name, array in GOOD.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        content = arrays[data.draw(st.sampled_from(sorted(arrays)))]
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    changed = {name: np.frombuffer(bytes(content), GOOD[name].dtype).reshape(GOOD[name].shape) for name, content in arrays.items()}
    path = tmp_path_factory.getbasetemp() / "changed-words.npz"
    np.savez(path, **changed)
    with contextlib.suppress(PublisherError):
        assert np.isfinite(LinearEngine(path, USE).scores(["oil leak", "stuck", "xyz"])).all()
