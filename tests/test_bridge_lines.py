r"""Plain lines out of the bytes of a serial line: ends, half lines, noise, and bytes cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.lines import MOST_BYTES, LineReader


def reader(first: bytes = b"rest of a line\n") -> LineReader:
    """Give a reader that is past the first line."""
    lines = LineReader()
    assert lines.feed(first) == []
    lines.counts["partial"] = 0
    return lines


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_kind_of_end_ends_a_line(end: bytes) -> None:
    lines = reader()
    assert lines.feed(b"1,2" + end + b"3,4" + end) == [b"1,2", b"3,4"]
    assert sum(lines.counts.values()) == 0


def test_a_line_is_given_when_its_end_comes() -> None:
    lines = reader()
    assert lines.feed(b"1,") == []
    assert lines.feed(b"2") == []
    assert lines.feed(b"\r") == [b"1,2"]
    assert lines.feed(b"\n3") == []
    assert lines.feed(b"\n") == [b"3"]


def test_empty_lines_are_nothing() -> None:
    lines = reader()
    assert lines.feed(b"\n\r\n\n\r\r1\n\n") == [b"1"]
    assert sum(lines.counts.values()) == 0


def test_blanks_and_tabs_stay() -> None:
    assert reader().feed(b" 1\t2 \n") == [b" 1\t2 "]


def test_the_first_line_after_opening_is_dropped_since_it_may_be_a_half_one() -> None:
    lines = LineReader()
    assert lines.feed(b"23.5\r\n24.5\r\n") == [b"24.5"]
    assert lines.counts == {"partial": 1, "too-long": 0, "not-text": 0}


def test_an_end_alone_is_no_half_line() -> None:
    lines = LineReader()
    assert lines.feed(b"\n24.5\n") == [b"24.5"]
    assert lines.counts["partial"] == 0


def test_noise_before_the_first_end_is_one_half_line() -> None:
    lines = LineReader()
    assert lines.feed(b"\xff\x00" * MOST_BYTES + b"\n1\n") == [b"1"]
    assert lines.counts == {"partial": 1, "too-long": 0, "not-text": 0}


def test_a_port_that_was_opened_again_begins_with_a_half_line_again() -> None:
    lines = reader()
    lines.feed(b"1,2")
    lines.opened()
    assert lines.feed(b"3\n4\n") == [b"4"]
    assert lines.counts["partial"] == 1


@pytest.mark.parametrize("line", [b"a\x00b", b"\x1b[0m", b"\x7f", b"\x08", b"\xc2\x85", b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc3"])
def test_what_is_no_text_is_dropped_and_counted(line: bytes) -> None:
    lines = reader()
    assert lines.feed(b"1\n" + line + b"\n2\n") == [b"1", b"2"]
    assert lines.counts == {"partial": 0, "too-long": 0, "not-text": 1}


@pytest.mark.parametrize("text", ["Kühlung läuft", "温度 21", "½ °C", "🙂"])
def test_text_of_any_language_is_text(text: str) -> None:
    assert reader().feed(text.encode() + b"\n") == [text.encode()]


def test_the_longest_line_passes_and_one_byte_more_does_not() -> None:
    lines = reader()
    longest = b"x" * MOST_BYTES
    assert lines.feed(longest + b"\n" + longest + b"y\nz\n") == [longest, b"z"]
    assert lines.counts == {"partial": 0, "too-long": 1, "not-text": 0}


def test_a_line_without_end_is_not_kept() -> None:
    lines = reader()
    for _ in range(100):
        assert lines.feed(b"x" * 1000) == []
    assert len(lines._rest) <= MOST_BYTES
    assert lines.feed(b"\n1\n") == [b"1"]
    assert lines.counts["too-long"] == 1


_BYTES = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"1,2", b"\xc3\xa9", b"\x00", b"\xff", b"{}", b"x" * 2000]), max_size=30).map(
    b"".join
)


@given(_BYTES | st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_lines_are_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    whole, cut = LineReader(), LineReader()
    expected = whole.feed(data)
    edges = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    assert [line for begin, end in pairwise(edges) for line in cut.feed(data[begin:end])] == expected
    assert cut.counts == whole.counts
    assert len(cut._rest) <= MOST_BYTES


@given(st.binary(max_size=500))
def test_whatever_comes_only_text_passes(data: bytes) -> None:
    for line in LineReader().feed(data):
        text = line.decode()
        assert line
        assert not any(ord(letter) < 32 and letter != "\t" for letter in text)


@given(st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40), max_size=20))
def test_every_line_of_text_passes_in_order(texts: list[str]) -> None:
    data = b"".join(text.encode() + b"\r\n" for text in texts)
    assert reader().feed(data) == [text.encode() for text in texts]
