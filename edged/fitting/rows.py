"""Read texts and their labels from a CSV file, strictly: a line that is odd is an error with its number, not a guess.

UTF-8, with or without a byte order mark; a header line; fields apart by comma, semicolon or tab, whichever finds both
columns in the header. Rows that lack a text or a label are left out, and counted.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edged.atomic import write_atomic
from edged.errors import OperatorError

MAX_CSV_BYTES = 256 << 20
MAX_TEXT = 1 << 20  # characters of one cell
MAX_LABEL = 200  # characters, as in a manifest
_DELIMITERS = (",", ";", "\t")
_SHOWN = 20


@dataclass(frozen=True)
class Rows:
    """Texts and the names of their labels, in the order of the file, without those that lack one of the two."""

    texts: list[str]
    labels: list[str]
    left_out: dict[str, int]


def read_rows(path: Path, text: str, label: str) -> Rows:
    """Read two columns of a CSV file.

    Raises OperatorError: `data-unreadable`, `data-malformed` with the line, `data-no-column`.
    """
    content = _content(path)
    delimiter, columns = _header(path, content, text, label)
    rows, left_out = Rows([], [], {}), Counter[str]()
    for line, row in islice(_records(path, content, delimiter), 1, None):
        if len(row) != len(columns):
            raise _malformed(path, line, f"it has {len(row)} fields, and the header {len(columns)}", "quote texts that hold a delimiter")
        cell, name = row[columns.index(text)], row[columns.index(label)].strip()
        if not cell.strip():
            left_out["without a text"] += 1
        elif not name:
            left_out["without a label"] += 1
        elif len(name) > MAX_LABEL or not name.isprintable():
            raise _malformed(path, line, f"{name[:40]!r} is no label", f"a label has 1 to {MAX_LABEL} printable characters")
        else:
            rows.texts.append(cell)
            rows.labels.append(name)
    rows.left_out.update(left_out)
    return rows


def write_rows(path: Path, text: str, label: str, rows: Sequence[tuple[str, str]]) -> None:
    """Write texts and labels as `read_rows` reads them; OperatorError(`cannot-write`)."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((text, label))
    writer.writerows(rows)
    try:
        write_atomic(path, buffer.getvalue().encode())
    except OSError as error:
        raise OperatorError("cannot-write", f"{path} cannot be written: {error.strerror}", "check the folder's owner and mode") from None


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CSV_BYTES + 1)
    except OSError as error:
        raise OperatorError("data-unreadable", f"{path} cannot be read: {error.strerror}", "check its name and mode") from None
    if len(data) > MAX_CSV_BYTES:
        raise OperatorError("data-malformed", f"{path} is larger than {MAX_CSV_BYTES >> 20} MiB", "a part of the rows will do")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed(path, data.count(b"\n", 0, error.start) + 1, "it is not UTF-8 text", "save the file as UTF-8") from None
    if (at := content.find("\0")) >= 0:
        raise _malformed(path, content.count("\n", 0, at) + 1, "it holds a NUL", "save the file as CSV text")
    return content


def _header(path: Path, content: str, text: str, label: str) -> tuple[str, list[str]]:
    """Give the delimiter with which the first line has both columns, and the columns."""
    headers = {}
    for delimiter in _DELIMITERS:
        columns = next((row for _, row in _records(path, content, delimiter)), [])
        headers[delimiter] = [name.strip() for name in columns]
        if text in headers[delimiter] and label in headers[delimiter]:
            return delimiter, headers[delimiter]
    columns = max(headers.values(), key=len)
    name, option = (label, "--label") if text in columns else (text, "--text")
    have = ", ".join(f"`{each[:40]}`" for each in columns[:_SHOWN]) or "none: it is empty"
    raise OperatorError("data-no-column", f"{path} has no column `{name}`; there are: {have}", f"name it with {option}")


def _records(path: Path, content: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Give each row that is not empty, with the number of its last line."""
    before = csv.field_size_limit(MAX_TEXT)
    try:
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader)
            except csv.Error as error:
                raise _malformed(path, reader.line_num, f"it is not CSV: {error}", "save the file as CSV with a header line") from None
            except StopIteration:
                return
            if row:
                yield reader.line_num, row
    finally:
        csv.field_size_limit(before)


def _malformed(path: Path, line: int, text: str, hint: str) -> OperatorError:
    return OperatorError("data-malformed", f"{path}:{line}: {text}", hint)
