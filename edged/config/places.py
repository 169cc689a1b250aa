"""Find the line of a key in a TOML text, so that a fault can name it.

TOML parsers give values without positions. This reads headers and key names only, far
enough to answer "where is `pipelines.0.source.topic`": the line of that key, or of the
nearest key around it (an inline table's inner keys have the line they stand on).
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_INNER = re.compile(r"[{,]\s*([A-Za-z0-9_-]+)\s*=")

Path = tuple[str | int, ...]


def lines_of(text: str) -> dict[Path, int]:
    """Map each key path of a TOML text to its line, counted from 1."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    key: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _enter(_split(header[2]), header[1] == "[[", counts)
            key = table
            found.setdefault(table, number)
        elif match := _KEY.match(line):
            key = table + _split(match[1])
            found.setdefault(key, number)
        for inner in _INNER.findall(line):
            found.setdefault((*key, inner), number)
    return found


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """Give the line of `path`, or of the nearest key around it; 0 where nothing is known."""
    while path:
        if path in lines:
            return lines[path]
        if isinstance(path[-1], str) and len(path) > 1 and isinstance(path[-2], int):
            without_index = path[:-2] + path[-1:]
            if without_index in lines:
                return lines[without_index]
        path = path[:-1]
    return 0


def _enter(name: Path, is_array: bool, counts: dict[Path, int]) -> Path:
    """Give the full path of a header, with the index of each array of tables on the way."""
    path: Path = ()
    for i, part in enumerate(name):
        path = (*path, part)
        if is_array and i == len(name) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _split(name: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", name))
