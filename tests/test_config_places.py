"""Lines of keys in TOML texts of every shape."""

from __future__ import annotations

import itertools
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.config.places import line_of, lines_of

TEXT = '''\
# a comment with key = 1 and [header]
top = 1
"quoted key" = 2
'single' . dotted."x\\u0041" = 3

[table]   # comment = 5
text = """
not_a_key = 1
[not.a.header]
"""
inline = { a = 1, "b c" = { d = [1, 2] } , e.f = "x, y = 2" }
many = [
    { type = "one", topic = "a = b" },  # { type = 3 }
    # nothing here
    { type = "two", list = [
      1], topic = "c" },
    5,
]
last = \'\'\'it's = 4\'\'\'

[[list]]
name = 1
[list.sub]
deep = 1
[[list.items]]
a = 1
[[list.items]]
a = 2

[[list]]
name = 2
[[list.items]]
a = 3
'''

PLACES = {
    ("top",): 2,
    ("quoted key",): 3,
    ("single",): 4,
    ("single", "dotted", "xA"): 4,
    ("table",): 6,
    ("table", "text"): 7,
    ("table", "inline", "b c", "d"): 11,
    ("table", "inline", "e", "f"): 11,
    ("table", "many"): 12,
    ("table", "many", 0, "topic"): 13,
    ("table", "many", 1): 15,
    ("table", "many", 1, "type"): 15,
    ("table", "many", 1, "list", 0): 16,
    ("table", "many", 1, "topic"): 16,
    ("table", "many", 2): 17,
    ("table", "last"): 19,
    ("list", 0): 21,
    ("list", 0, "name"): 22,
    ("list", 0, "sub", "deep"): 24,
    ("list", 0, "items", 1, "a"): 28,
    ("list", 1): 30,
    ("list", 1, "name"): 31,
    ("list", 1, "items", 0, "a"): 33,
}


@pytest.mark.parametrize(("path", "line"), PLACES.items(), ids=[".".join(map(str, path)) for path in PLACES])
def test_each_key_has_the_line_it_stands_on(path: tuple[str | int, ...], line: int) -> None:
    msgspec.toml.decode(TEXT)
    assert line == lines_of(TEXT)[path]


def test_inline_tables_over_many_lines_as_in_toml_1_1_are_followed() -> None:
    lines = lines_of('outputs = [\n  {type = "a"},\n  {type = "b",\n   path = "c"}\n]\n')
    assert [lines["outputs", 0, "type"], lines["outputs", 1, "type"], lines["outputs", 1, "path"]] == [2, 3, 4]


def test_windows_line_ends_and_odd_spaces_count_one_line_each() -> None:
    """A form feed or U+2028 in a text is no line end, though Python's splitlines takes it for one."""
    assert lines_of('a = "\u2028"\r\nb = 1\r\nc = 2')[("c",)] == 3


def test_unknown_path_takes_the_line_of_the_nearest_key_around_it() -> None:
    lines = lines_of("[a]\nb = { c = 1 }\n")
    assert [line_of(path, lines) for path in (("a", "b", "c", "d"), ("a", "b", 3), ("a", "x"), ("y",))] == [2, 2, 1, 0]


def test_words_inside_texts_and_comments_are_no_keys() -> None:
    lines = lines_of(TEXT)
    assert not {("key",), ("table", "not_a_key"), ("not",), ("table", "comment")} & lines.keys()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="[]{}=,.\"'#\n ab1\\-", max_size=60))
def test_any_text_gives_lines_within_it(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 1 for line in lines_of(text).values())


KEYS = st.text(alphabet="ab=#,. 'é\n", max_size=3)
VALUES = st.recursive(
    st.sampled_from(["1", "-1.5e3", "1979-05-27 07:32:00.5Z", '"a = [{,#"', "'\"'", '"""\nb = 1\n"""""', "'''\n[c]\n'''", "true"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", # ] }\n ".join(items) + "\n]"),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda table: f"{{ {', '.join(map(_pair, table.items()))} }}"),
    ),
    max_leaves=8,
)


def _pair(item: tuple[str, str]) -> str:
    return f"{json.dumps(item[0], ensure_ascii=False)} = {item[1]}"


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=3))
def test_every_key_that_the_parser_finds_has_the_line_of_its_value(top: dict[str, str], table: dict[str, str]) -> None:
    text = "\n".join([*map(_pair, top.items()), '[["é.t" . u]]  # [x]', *map(_pair, table.items())])
    values = msgspec.toml.decode(text) if "é.t" not in top else {}
    lines = lines_of(text)
    assert _paths((), values) <= lines.keys()
    starts = itertools.accumulate((pair.count("\n") + 1 for pair in map(_pair, top.items())), initial=1)
    assert list(starts)[:-1] == [lines[(key,)] for key in top]


def _paths(path: tuple[str | int, ...], value: object) -> set[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = {path} if path else set()
    return here.union(*(_paths((*path, key), each) for key, each in items))
