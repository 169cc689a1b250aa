"""Read the layout of a packed record: the letters of Python's `struct` that are numbers.

`<hhh`, `<3h`, `>Qfff`, `<Hxxf`: a byte order, then letters with optional counts. Only orders
with fixed sizes and no alignment are taken, so that a layout means the same on each board.
"""

from __future__ import annotations

import re

ORDERS = "<>=!"
LETTERS = "bBhHiIlLqQefd"
MAX_FIELDS = 4096

_LAYOUT = re.compile(rf"[{ORDERS}](?:[0-9]{{0,5}}[{LETTERS}x])+")
_FIELD = re.compile(r"([0-9]*)(.)")


class BadLayout(ValueError):
    """Not a layout of ours; the arguments are what is wrong and what to write instead."""


def fields_of(layout: str) -> str:
    """Give the letter of each field, pad bytes left out: `<2hxf` is `hhf`.

    Raises BadLayout(text, hint). At most MAX_FIELDS fields and as many pad bytes.
    """
    if layout[:1] not in tuple(ORDERS):
        raise BadLayout("does not say its byte order", "begin it with `<`, little-endian, such as `<hhh`, or with `>`, big-endian")
    if not _LAYOUT.fullmatch(layout):
        raise BadLayout("has letters that are no numbers of Python's struct", f"use {' '.join(LETTERS)}, and x for a byte to skip")
    fields = [(int(count or 1), letter) for count, letter in _FIELD.findall(layout[1:])]
    if sum(count for count, _ in fields) > MAX_FIELDS:
        raise BadLayout(f"has more than {MAX_FIELDS} fields", "give one record, not many")
    letters = "".join(letter * count for count, letter in fields if letter != "x")
    if not letters:
        raise BadLayout("has no fields", "give a letter for each field, such as `<hhh`")
    return letters
