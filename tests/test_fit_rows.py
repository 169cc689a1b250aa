"""Labelled rows from CSV files: what is read, what is refused with its line; and how rows are parted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import OperatorError
from edged.fitting.rows import read_rows, write_rows
from edged.fitting.split import ALWAYS, part_rows, same_words


def rows_of(tmp_path: Path, content: bytes | str) -> tuple[list[str], list[str], dict[str, int]]:
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = read_rows(path, "text", "label")
    return rows.texts, rows.labels, rows.left_out


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_byte_order_marks_and_line_ends_are_those_of_many_programs(tmp_path: Path, delimiter: str, mark: str, end: str):
    lines = [
        mark + delimiter.join(("id", "label", "text")),
        delimiter.join(("1", " oil ", '"leak, big; ""L/H"""')),
        delimiter.join(("2", "air", "weiß")),
    ]
    assert rows_of(tmp_path, end.join(lines)) == (['leak, big; "L/H"', "weiß"], ["oil", "air"], {})


def test_empty_lines_are_none_and_rows_that_lack_something_are_counted(tmp_path: Path):
    content = 'text,label\n\na,x\n ,x\nb,\n"",\nc, y\n'
    assert rows_of(tmp_path, content) == (["a", "c"], ["x", "y"], {"without a text": 2, "without a label": 1})


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (b"", "data-no-column", "no column `text`; there are: none: it is empty"),
        (b"a,b\nc,d\n", "data-no-column", "no column `text`; there are: `a`, `b`"),
        (b"text;b\nc;d\n", "data-no-column", "no column `label`; there are: `text`, `b`"),
        (b"text,label\na,x\nb\n", "data-malformed", "rows.csv:3: it has 1 fields, and the header 2"),
        (b"text,label\na,x\nb,c,d\n", "data-malformed", "rows.csv:3: it has 3 fields"),
        (b'text,label\n"a,x\n', "data-malformed", "rows.csv:2: it is not CSV"),
        (b'text,label\n"a"b,x\n', "data-malformed", "rows.csv:2: it is not CSV"),
        (b"text,label\na,x\n\xff\xfe,y\n", "data-malformed", "rows.csv:3: it is not UTF-8"),
        ("text,label\na,x\n".encode("utf-16"), "data-malformed", "rows.csv:1: it is not UTF-8"),
        (b"text,label\na\0,x\n", "data-malformed", "rows.csv:2: it holds a NUL"),
        (b"text,label\na," + b"x" * 201, "data-malformed", "is no label"),
        (b"text,label\na,x\x1b[2J\n", "data-malformed", "rows.csv:2: 'x\\x1b[2J' is no label"),
        (b"text,label\n" + b"a" * (1 << 20) + b"b,x\n", "data-malformed", "rows.csv:2: it is not CSV"),
    ],
)
def test_what_is_odd_is_refused_with_its_line(tmp_path: Path, content: bytes, code: str, text: str):
    with pytest.raises(OperatorError) as caught:
        rows_of(tmp_path, content)
    assert caught.value.code == code
    assert text in caught.value.text


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(OperatorError) as caught:
        read_rows(tmp_path / "none.csv", "text", "label")
    assert caught.value.code == "data-unreadable"


@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.sampled_from(["x", "y;z", 'q"'])), max_size=8))
def test_rows_that_are_written_are_read_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]):
    rows = [(text, label) for text, label in rows if text.strip() and "\0" not in text and text.isprintable()]
    path = tmp_path_factory.getbasetemp() / "written.csv"
    write_rows(path, "text", "label", rows)
    read = read_rows(path, "text", "label")
    assert list(zip(read.texts, read.labels)) == rows


# Parts.


def test_equal_texts_are_in_one_part_whatever_their_case_and_space():
    texts = [f"order {i // 3}" if i % 3 else f"  ORDER   {i // 3} " for i in range(90)]
    part = part_rows(texts, np.arange(90) // 3 % 3, [0.2, 0.8], seed=1)
    for text in map(same_words, texts):
        assert len({int(part[i]) for i in range(90) if same_words(texts[i]) == text}) == 1


def test_each_label_is_parted_for_itself():
    truth = np.array([0] * 500 + [1] * 50 + [2] * 10)
    part = part_rows([f"text {i}" for i in range(560)], truth, [0.2, 0.8], seed=1)
    assert [int((part[truth == label] == 0).sum()) for label in range(3)] == [100, 10, 2]


def test_the_seed_says_which_rows_and_nothing_else_does():
    texts, truth = [f"text {i}" for i in range(100)], np.arange(100) % 2
    first, again, other = (part_rows(texts, truth, [0.2, 0.8], seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_label_with_one_text_is_always_fitted():
    texts = ["only this"] * 7 + [f"text {i}" for i in range(20)]
    part = part_rows(texts, np.array([1] * 7 + [0] * 20), [0.5, 0.5], seed=1)
    assert part[:7].tolist() == [ALWAYS] * 7


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 9))
def test_whatever_part_is_held_out_the_others_have_all_labels(rows: list[tuple[int, int]], parts: int, seed: int):
    texts, truth = [f"text {text}" for text, _ in rows], np.array([label for _, label in rows])
    part = part_rows(texts, truth, [1 / parts] * parts, seed)
    assert set(part.tolist()) <= {ALWAYS, *range(parts)}
    for held_out in range(parts):
        assert set(truth[part != held_out].tolist()) == set(truth.tolist()) or parts == 1
