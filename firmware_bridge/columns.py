"""What a line of a plain sketch holds: numbers in columns, with names where it has them; pure.

One line, without its line end, is one reading, in one of three forms:

    1.5,-2,1003            numbers, parted by commas, semicolons, tabs, or spaces
    x:1.5,y:-2,z:1003      `name:value` pairs, as the Arduino plotter takes them; spaces may follow the colon
    {"x": 1.5, "y": -2}    JSON: an object, or an array of numbers such as [1.5, -2, 1003]

The rules, in their order:

 1. Spaces and tabs around the line do not count. A line that begins with `{` or `[` is JSON or nothing.
 2. Cells are parted by the first of `,` `;` tab that is in the line at all, else by runs of spaces. Spaces around a cell do
    not count, and one separator may stand at the end. An empty cell makes the line no reading.
 3. A number is an optional sign, digits with or without a point, and an exponent if any. `nan`, `inf` and `ovf` are what
    Arduino prints of floats that are none, and are readings too: who reads the line must see that its sensor fails.
    Hexadecimal is no number.
 4. All cells are numbers, or all are pairs; a line of both is nothing. A name begins with a letter or `_`; letters, digits
    and `_ . - / %` follow, so `12:30:05` is no pair.
 5. A JSON object's columns are its members that are numbers; those of an object within are named by a dotted path. Members of
    any other kind are passed over. An array has numbers only.

Everything else is a debug print. A header is a line of at least two different names, parted by `,` `;` or tab: words with
spaces between them are prose. `Hello, world` looks like a header all the same: whoever takes one must hold it against
the names he wants, or against the count of columns that follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

MAX_LINE = 4096  # bytes, as `lines.LineReader` lets through
MAX_NAME = 64  # characters
_MOST_BRACKETS = 64  # of a JSON line: so deep may it be at most, and the parser's recursion ends there

# Digits stand in one place of each alternative only: a long line that is no number is given up in linear time.
_NUMBER = re.compile(rb"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|nan|inf|ovf)", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d][\w./%-]*")
_AFTER_COLON = re.compile(rb":[ \t]+")
_OVERFLOW = b"ovf"  # of either sign


def split(line: bytes) -> list[bytes] | None:
    """Give the cells of a reading, in the order of the line; None for a line that is none, such as a debug print.

    `float()` takes every cell. Bytes from anywhere may be passed in; nothing is raised.
    """
    text = _trimmed(line)
    if text[:1] in (b"{", b"["):
        columns = _json(text)
        return [cell for _, cell in columns] if columns else None
    cells = _cells(text)
    if cells and all(map(_NUMBER.fullmatch, cells)):
        return _floats(cells)
    pairs = _pairs(text)
    return _floats([cell for _, cell in pairs]) if pairs else None


def names_of(line: bytes) -> list[str] | None:
    """Give the names in a header, in pairs or in a JSON object, in the order of the line; None where a line has none.

    Names differ from each other. Where `split` gives cells too, there are as many. Nothing is raised.
    """
    text = _trimmed(line)
    if text[:1] in (b"{", b"["):
        names = [name for name, _ in _json(text) or []]
        names = names if all(0 < len(name) <= MAX_NAME and name.isprintable() for name in names) else []
    elif text[:1] in b"+-.0123456789":  # no line at all, or numbers: what comes most
        return None
    elif b":" in text:
        names = [name for name, _ in _pairs(text) or []]
    else:
        names = _header(text)
    return names if names and len(set(names)) == len(names) else None


def separator_of(line: bytes) -> bytes:
    """Give what parts the cells of a line that is not JSON: `,` `;` tab, or a space, which stands for runs of spaces."""
    if b"," in line:
        return b","
    if b";" in line:
        return b";"
    return b"\t" if b"\t" in line.strip(b" \t") else b" "


def _trimmed(line: bytes) -> bytes:
    return line.strip(b" \t") if len(line) <= MAX_LINE else b""


def _cells(text: bytes) -> list[bytes]:
    separator = separator_of(text)
    if separator == b" ":
        return [cell for cell in text.split(b" ") if cell]
    return [cell.strip(b" \t") for cell in text.removesuffix(separator).split(separator)]


def _floats(cells: list[bytes]) -> list[bytes]:
    return [cell if cell[-3:].lower() != _OVERFLOW else b"nan" for cell in cells]


def _pairs(text: bytes) -> list[tuple[str, bytes]] | None:
    pairs: list[tuple[str, bytes]] = []
    if b":" not in text:
        return None
    for cell in _cells(_AFTER_COLON.sub(b":", text)):
        name, _, value = cell.partition(b":")
        if not _NUMBER.fullmatch(value) or not (known := _name(name.rstrip(b" \t"))):
            return None
        pairs.append((known, value))
    return pairs


def _header(text: bytes) -> list[str]:
    """Give the names of a header; none where the line is another."""
    cells = _cells(text) if separator_of(text) != b" " else []
    if len(cells) < 2 or not _name(cells[0]):
        return []
    names = [_name(cell) for cell in cells]
    return names if all(names) else []


def _name(cell: bytes) -> str:
    """Give a cell that is a name as text; empty where it is none, or a number."""
    if _NUMBER.fullmatch(cell):
        return ""
    text = cell.decode("utf-8", "replace")
    return text if len(text) <= MAX_NAME and _NAME.fullmatch(text) else ""


def _json(text: bytes) -> list[tuple[str, bytes]] | None:
    """Give name and number of each column; the names of an array are empty."""
    if text.count(b"{") + text.count(b"[") > _MOST_BRACKETS:
        return None
    try:
        # Numbers stay the text that they are: they alone become bytes.
        value = json.loads(text.decode(), parse_int=str.encode, parse_float=str.encode, parse_constant=str.encode)
    except ValueError:
        return None
    if isinstance(value, dict):
        return list(_members(value, "")) or None
    cells = [("", cell) for cell in value if isinstance(cell, bytes)]
    return cells if cells and len(cells) == len(value) else None


def _members(values: dict[str, object], path: str) -> Iterator[tuple[str, bytes]]:
    for key, value in values.items():
        if isinstance(value, bytes):
            yield path + key, value
        elif isinstance(value, dict):
            yield from _members(value, f"{path}{key}.")
