"""Text in columns of a terminal: cleaned, measured, cut, padded, coloured; pure.

What is shown comes partly from outside: control and other invisible characters are shown as
`?`, so that no payload, topic or broker steers a person's terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

GAP = "  "
_NARROW_GAP = " "
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def clean(text: str) -> str:
    """Replace what a terminal would not show as a character; line ends and tabs become spaces."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " if c in "\n\r\t" else "?" for c in text)


def wide(text: str) -> int:
    """Count the terminal columns that clean `text` takes."""
    return len(text) if text.isascii() else sum(_wide(c) for c in text)


def _wide(c: str) -> int:
    return 0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1


def fit(text: str, width: int) -> str:
    """Cut clean `text` to `width` columns, with an ellipsis where something is missing."""
    if wide(text) <= width:
        return text
    kept, room = "", width - 1
    for c in text:
        room -= _wide(c)
        if room < 0:
            break
        kept += c
    return kept + "…" if width > 0 else ""


def wrap(parts: Sequence[str], between: str, width: int) -> list[str]:
    """Join clean parts into lines of at most `width` columns, broken between parts; a part that is too long is cut."""
    lines: list[str] = []
    for part in parts:
        part = fit(part, width)
        if lines and wide(lines[-1] + between + part) <= width:
            lines[-1] += between + part
        else:
            lines.append(part)
    return lines


def wrap_words(text: str, width: int, first: str = "", rest: str = "  ") -> list[str]:
    """Break clean `text` into lines of at most `width` columns after `first` and `rest`; nothing is cut."""
    lines: list[str] = []
    line, fresh = first, True
    for word in text.split():
        while word:
            start = line if fresh else f"{line} "
            if wide(start + word) <= width:
                line, fresh, word = start + word, False, ""
            elif not fresh:
                lines.append(line)
                line, fresh = rest, True
            else:
                head = _head(word, width - wide(line))
                lines.append(line + head)
                line, word = rest, word[len(head) :]
    return lines if fresh and lines else [*lines, line]


def _head(word: str, room: int) -> str:
    """Give as much of `word` as `room` columns take, a character at least."""
    end = 1
    while end < len(word) and wide(word[: end + 1]) <= room:
        end += 1
    return word[:end]


def painted(text: str, colour: str, on: bool) -> str:
    """Colour `text` for a terminal where `on`; an empty colour is none."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if on and colour and text else text


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, whether numbers stand right in it, and the least it is cut to (0: never cut)."""

    title: str
    right: bool = False
    least: int = 0


@dataclass(frozen=True)
class Cell:
    """Clean text and its colour. `tail` is what is kept when the text is cut."""

    text: str
    colour: str = ""
    tail: str = ""

    def fitted(self, width: int) -> str:
        """Give the text and its tail in at most `width` columns."""
        room = width - wide(self.tail)
        return fit(self.text, room) + self.tail if room > 1 else fit(self.text + self.tail, width)


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int, colour: bool) -> list[str]:
    """Lay `rows` out under titles in lines of at most `width` columns.

    Where there is too little room, columns move together; then the widest that may be cut
    are; then columns are left out, from the right.
    """
    widths = [max([wide(column.title), *(wide(row[i].text + row[i].tail) for row in rows)]) for i, column in enumerate(columns)]
    gap = GAP if _total(widths, GAP) <= width else _NARROW_GAP
    widths = _squeezed(columns, widths, width, gap)
    titles = [Cell(column.title, "dim") for column in columns]
    return [_row(columns, row, widths, gap, colour) for row in [titles, *rows]]


def _squeezed(columns: Sequence[Column], natural: Sequence[int], width: int, gap: str) -> list[int]:
    widths = list(natural)
    while (excess := _total(widths, gap) - width) > 0:
        cuttable = [i for i, column in enumerate(columns[: len(widths)]) if column.least and widths[i] > column.least]
        if not cuttable:
            widths.pop()
            continue
        widest = max(cuttable, key=lambda i: widths[i] - columns[i].least)
        # At most a quarter at a time, so that several wide columns share the loss.
        widths[widest] -= min(excess, max(1, (widths[widest] - columns[widest].least) // 4))
    return widths


def _total(widths: Sequence[int], gap: str) -> int:
    return sum(widths) + len(gap) * (len(widths) - 1)


def _row(columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int], gap: str, colour: bool) -> str:
    cells = []
    for column, cell, width in zip(columns, row, widths):
        text = cell.fitted(width)
        space = " " * (width - wide(text))
        shown = painted(text, cell.colour, colour)
        cells.append(space + shown if column.right else shown + space)
    return gap.join(cells).rstrip()
