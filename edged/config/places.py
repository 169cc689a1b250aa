"""Find the line of each key in a TOML text, so that a fault can name it.

TOML parsers give values without positions. This walks the tokens of a text that a parser has
already accepted, far enough to say on which line each key and each item of a list begins:
headers, dotted and quoted keys, inline tables, lists over many lines. A text that is not
TOML gives some lines or none, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""
    (?P<skip>[ \t\r]+|\#[^\n]*)
  | (?P<word>\"{3}(?:\\[\s\S]|[^\\])*?\"{3,5}   # a text over many lines may end in quotes of its own
      | '{3}[\s\S]*?'{3,5}
      | "(?:\\.|[^"\\\n])*" | '[^'\n]*'
      | [^\s\[\]{}=,."'\#]+)
  | (?P<mark>[\[\]{}=,.\n])
  | (?P<other>.)
    """,
    re.VERBOSE,
)


@dataclass
class _Frame:
    """A table or list that is open: where it is, and how far it is read."""

    path: Path
    is_list: bool
    index: int = 0
    key: list[str] = field(default_factory=list)
    in_value: bool = False


def lines_of(text: str) -> dict[Path, int]:
    """Map each key path of a TOML text to its line, counted from 1; items of lists by their index."""
    return _Walk().walk(text)


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """Give the line of `path`, or of the nearest key around it; 0 where nothing is known."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


class _Walk:
    """One walk over one text."""

    def __init__(self) -> None:
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # of each array of tables: the index of its last table
        self._frames = [_Frame((), is_list=False)]
        self._brackets = 0  # of a header that is being read

    def walk(self, text: str) -> dict[Path, int]:
        for token, is_mark, line in _tokens(text):
            frame = self._frames[-1]
            if frame.is_list:
                self._in_list(frame, token if is_mark else "", line)
            elif frame.in_value:
                self._in_value(frame, token if is_mark else "")
            elif is_mark:
                self._before_value(frame, token, line)
            else:
                frame.key.append(_unquoted(token))
        return self._lines

    def _before_value(self, frame: _Frame, mark: str, line: int) -> None:
        at_top = len(self._frames) == 1
        if mark == "=":
            self._open_key(frame, line)
        elif mark == "[" and at_top:
            self._brackets += 1
        elif mark == "\n" and at_top:
            if self._brackets:
                frame.path = self._enter(frame.key, self._brackets > 1, line)
            self._brackets, frame.key = 0, []
        elif mark == "}" and not at_top:
            self._frames.pop()

    def _open_key(self, frame: _Frame, line: int) -> None:
        for i in range(len(frame.key)):
            self._lines.setdefault(frame.path + tuple(frame.key[: i + 1]), line)
        frame.in_value = True

    def _in_value(self, frame: _Frame, mark: str) -> None:
        at_top = len(self._frames) == 1
        if mark in ("[", "{"):
            self._frames.append(_Frame(frame.path + tuple(frame.key), is_list=mark == "["))
        elif mark == ("\n" if at_top else ","):
            frame.in_value, frame.key = False, []
        elif mark == "}" and not at_top:
            self._frames.pop()

    def _in_list(self, frame: _Frame, mark: str, line: int) -> None:
        if mark == "]":
            self._frames.pop()
        elif mark == ",":
            frame.index += 1
        elif mark != "\n":
            item = (*frame.path, frame.index)
            self._lines.setdefault(item, line)
            if mark in ("[", "{"):
                self._frames.append(_Frame(item, is_list=mark == "["))

    def _enter(self, name: list[str], is_array: bool, line: int) -> Path:
        """Give the full path of a header, with the index of each array of tables on the way."""
        path: Path = ()
        for i, part in enumerate(name):
            path = (*path, part)
            self._lines.setdefault(path, line)
            if is_array and i == len(name) - 1:
                self._counts[path] = self._counts.get(path, -1) + 1
            if path in self._counts:
                path = (*path, self._counts[path])
                self._lines.setdefault(path, line)
        return path


def _tokens(text: str) -> Iterator[tuple[str, bool, int]]:
    """Give each word and mark of a text with the line it begins on; a newline at the end is added."""
    line = 1
    for match in _TOKEN.finditer(text + "\n"):
        token = match[0]
        if match.lastgroup in ("word", "mark"):
            yield token, match.lastgroup == "mark", line
        line += token.count("\n")


def _unquoted(key: str) -> str:
    if key[0] not in "\"'":
        return key
    try:
        return str(msgspec.toml.decode(f"key = {key}")["key"])
    except msgspec.DecodeError:
        return key
