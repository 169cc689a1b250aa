"""What a line of a sketch holds: its columns, their names, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.columns import MAX_LINE, MAX_NAME, names_of, separator_of, split

NUMBERS = st.one_of(st.integers(-(10**9), 10**9).map(str), st.floats().map(repr), st.sampled_from(["1.", ".5", "+3", "-0", "ovf", "INF"]))
NAMES = st.from_regex(r"[A-Za-z_äµ][\w.%/-]{0,20}", fullmatch=True).filter(lambda name: name.lower() not in ("nan", "inf", "ovf"))


def _same(cells: list[bytes] | None, numbers: list[str]) -> bool:
    assert cells is not None
    wanted = [number.lower().replace("ovf", "nan") for number in numbers]
    return [repr(float(cell)) for cell in cells] == [repr(float(number)) for number in wanted]


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (b"1,2,3", [b"1", b"2", b"3"]),
        (b"  1.5 , -2,\t+1003 ", [b"1.5", b"-2", b"+1003"]),
        (b"1;2;3;", [b"1", b"2", b"3"]),
        (b"1\t2\t3\t", [b"1", b"2", b"3"]),
        (b"1  2   3", [b"1", b"2", b"3"]),
        (b"42", [b"42"]),
        (b"1e3,.5,2.,-1.5E-7", [b"1e3", b".5", b"2.", b"-1.5E-7"]),
        (b"nan,inf,-INF", [b"nan", b"inf", b"-INF"]),
        (b"ovf,1", [b"nan", b"1"]),
        (b"x:1,y:2", [b"1", b"2"]),
        (b"x: 1, y: 2", [b"1", b"2"]),
        (b"x:1 y:2", [b"1", b"2"]),
        (b"x: 1\ty: 2\t", [b"1", b"2"]),
        (b"t_1:ovf", [b"nan"]),
        (b'{"x": 1.5, "y": -2}', [b"1.5", b"-2"]),
        (b'{"t": 7, "acc": {"x": 1, "y": 2e3}, "id": "a7", "ok": true, "none": null, "many": [1, 2]}', [b"7", b"1", b"2e3"]),
        (b"[1, -2.5, NaN]", [b"1", b"-2.5", b"NaN"]),
        (b'{"x": 1, "x": 2}', [b"2"]),
    ],
)
def test_a_reading_is_split_into_its_cells(line: bytes, cells: list[bytes]) -> None:
    assert split(line) == cells


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"   ", b",", b",1", b"1,,2", b"1,2,,", b"1,2;3", b"1, 2 3", b"1,x", b"x:1,2", b"x:,y:1", b":1", b"1 , 2 :", b"--1", b"1-2"),
        *(b"0x1F", b"1_000", b"1e", b".", b"+", b"1.2.3", b"12:30:05", b"5:1", b"nan:1", b"x y:1", b"Battery is low", b"\xff,\xfe"),
        *(b"[INFO] started", b"[]", b"{}", b'["a"]', b"[1, [2]]", b"[1, true]", b'{"a": "b"}', b"{1}", b"[1", b"[1] 2", b'{"a": 1} x'),
        *(b"ets Jun  8 2016 00:22:57", b"rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"),
        *(b"load:0x3fff0030,len:1344", b"mode:DIO, clock div:1"),
        *(b"1\n2", b"1,2\r", "١,٢".encode(), b"[" * 4000, b"{" * 4000, b'{"a":' * 600 + b"1" + b"}" * 600, b"[" * 65 + b"]" * 65),
        *(b"1," * 3000, b"9" * (MAX_LINE + 1), b"9" * (MAX_LINE - 1) + b"x", b"1" + b" " * (MAX_LINE - 2) + b"x", b"1e" * 2000),
    ],
)  # fmt: skip
def test_a_line_that_is_no_reading_is_a_debug_print(line: bytes) -> None:
    assert split(line) is None


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"x,y,z", ["x", "y", "z"]),
        (b" x ; y ; z ;", ["x", "y", "z"]),
        (b"acc.x\tacc.y", ["acc.x", "acc.y"]),
        ("temp_°C,µ".encode(), None),
        ("Größe,µ".encode(), ["Größe", "µ"]),
        (b"x:1,y:nan", ["x", "y"]),
        (b"x: 1 y: 2", ["x", "y"]),
        (b'{"t": 7, "acc": {"x": 1, "y": 2e3}, "id": "a7"}', ["t", "acc.x", "acc.y"]),
        *((line, None) for line in (b"", b"x", b"x y z", b"Hello world", b"x,x", b"x,1", b"1,2", b"x,,y", b"x:1,x:2")),
        *((line, None) for line in (b"nan,inf", b"x y,z", b"\xff,\xfe", b"x,1y")),
        *((line, None) for line in (b"[1,2]", b"[x,y]", b'{"": 1}', b'{"a": "b"}', b'{"\\ud800": 1}', b'{"\\u001b[2J": 1}')),
        *((line, None) for line in (b"x," + b"y" * (MAX_NAME + 1), b"x:1,y:z", b'{"a.b": 1, "a": {"b": 2}}', b"x," * 3000)),
    ],
)  # fmt: skip
def test_names_are_those_of_headers_pairs_and_objects(line: bytes, names: list[str] | None) -> None:
    assert names_of(line) == names


def test_what_looks_like_a_header_and_is_prose_is_for_the_caller_to_tell() -> None:
    assert names_of(b"Hello, world") == ["Hello", "world"]
    assert split(b"Hello, world") is None


@pytest.mark.parametrize(
    ("line", "separator"), [(b"1, 2", b","), (b"1; 2", b";"), (b"1\t2\t", b"\t"), (b"1 2", b" "), (b"\t1 2\t", b" "), (b"", b" ")]
)
def test_the_separator_is_told(line: bytes, separator: bytes) -> None:
    assert separator_of(line) == separator


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.sampled_from([",", ", ", ";", "\t", " ", "   "]), st.booleans())
def test_what_is_joined_is_split_again(numbers: list[str], separator: str, trailing: bool) -> None:
    line = separator.join(numbers) + (separator if trailing else "")
    assert _same(split(line.encode()), numbers)
    assert names_of(line.encode()) is None


@given(
    st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=12),
    st.sampled_from([":", ": ", ":  "]),
    st.sampled_from([",", ", ", ";", "\t", " "]),
)
def test_pairs_give_names_and_values(pairs: dict[str, str], colon: str, separator: str) -> None:
    line = separator.join(f"{name}{colon}{value}" for name, value in pairs.items()).encode()
    assert _same(split(line), [*pairs.values()])
    assert names_of(line) == [*pairs]


@given(st.lists(NAMES, min_size=2, max_size=12, unique=True), st.sampled_from([",", ", ", ";", "\t"]))
def test_a_header_gives_its_names_and_no_reading(names: list[str], separator: str) -> None:
    line = separator.join(names).encode()
    assert names_of(line) == names
    assert split(line) is None


@given(st.one_of(st.binary(max_size=300), st.text(alphabet='{}[]",:;0123456789.eE+-nainfxyz \t', max_size=300).map(str.encode)))
def test_hostile_lines_raise_nothing_and_give_floats_only(line: bytes) -> None:
    cells, names = split(line), names_of(line)
    if cells is not None:
        assert cells
        assert [float(cell) for cell in cells]
    if names is not None:
        assert len(set(names)) == len(names)
        assert all(name.isprintable() and 0 < len(name) <= MAX_NAME for name in names)
        assert cells is None or len(cells) == len(names)
    assert separator_of(line) in (b",", b";", b"\t", b" ")


@given(st.binary(min_size=1, max_size=40), st.integers(1, 3))
def test_the_longest_lines_are_taken_and_longer_ones_are_not(part: bytes, spare: int) -> None:
    long = (part * MAX_LINE)[:MAX_LINE]
    assert names_of(long) is None or len(names_of(long) or []) <= MAX_LINE // 2
    assert split(long) is None or len(split(long) or []) <= MAX_LINE
    assert split((b"1," * MAX_LINE)[: MAX_LINE + spare]) is None
