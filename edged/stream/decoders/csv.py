"""Lines of numbers to readings.

A message is one line or many. Which column is what comes from a header line (the first line of
a message, with all channel names among its cells; remembered for its topic), else from
`columns`, else it is the time (if any) and then the channels. A header by itself gives no
readings and is not rejected. Lines of the right width are converted for the whole batch at
once; anything else line by line, which also finds the reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.config.schema import CsvDecoder
from edged.records import BAD_TIME, MALFORMED, MISSING, WRONG_LENGTH, WRONG_TYPE, Readings, Rejected
from edged.stream.decoders.labels import LabelSets, label_bytes
from edged.stream.decoders.sound import Bad, Labels, Refused, nothing, sound, take_each
from edged.stream.decoders.times import Times

MAX_TOPICS = 1024  # whose header is remembered; beyond it the oldest is forgotten

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _Columns:
    """Where a line's cells are; `missing` is the first wanted name that no column has."""

    width: int
    channels: tuple[int, ...]
    time: int
    labels: tuple[int, ...]
    missing: str


class Csv:
    """Decodes lines of one pipeline; used by one thread."""

    def __init__(self, options: CsvDecoder) -> None:
        self._options = options
        self._separator = options.separator.encode()
        self._times = Times(options.time_unit) if options.time else None
        self._label_sets = LabelSets(self._text) if options.labels else None
        self._default = self._columns(options.columns or [*([options.time] if options.time else []), *options.channels])
        self._headers: dict[bytes, _Columns] = {}
        self._numeric_names = all(_is_number(name) for name in options.channels)  # a header is then told from data by its text alone

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Give the readings of `payloads`; a payload that gives none is in `rejected`. Raises nothing."""
        columns = {self._headers.get(topic, self._default) for topic in topics} if self._headers else {self._default}
        if len(columns) == 1:
            try:
                return self._batch(payloads, columns.pop())  # type: ignore[arg-type]
            except (ValueError, TypeError, AttributeError, OverflowError):
                pass
        return self._each(payloads, topics)

    def _batch(self, payloads: list[bytes], columns: _Columns) -> Readings:
        """Take lines that all have the right width and no quotes; ValueError, TypeError or AttributeError where one differs."""
        separator, width = self._separator, columns.width
        stripped = [payload.rstrip(b"\r\n") for payload in payloads]
        joined = b"\n".join(stripped)
        if columns.missing or self._numeric_names or b'"' in joined:
            raise ValueError("not plain lines")
        lines = joined.split(b"\n")
        for line in lines:
            if line.count(separator) != width - 1:
                raise ValueError("not all of one width")
        message = list(range(len(lines)))
        if len(lines) > len(payloads):
            message = np.repeat(np.arange(len(payloads)), [each.count(b"\n") + 1 for each in stripped]).tolist()
        cells = separator.join(lines).split(separator)
        numbers = [_numbers(cells[column::width], b"_" in joined) for column in columns.channels]
        labels = [tuple(map(bytes.strip, row)) for row in zip(*(cells[column::width] for column in columns.labels))]
        times = cells[columns.time :: width] if self._times else []
        return self._readings(np.array(numbers, np.float64).T, times, labels, message, len(payloads), [])

    def _each(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        rejected: list[Rejected] = []
        taken = take_each(enumerate(payloads), lambda i, payload: self._message(payload, topics[i]), rejected)
        message = [i for i, rows in taken for _ in rows]
        if not message:
            labels: list[Labels] | None = [()] * len(payloads) if self._label_sets else None
            return nothing(len(self._options.channels), self._times is not None, labels, rejected)
        rows = [row for _, rows in taken for row in rows]
        values = np.array([numbers for numbers, _, _ in rows], np.float64)
        return self._readings(values, [time for _, time, _ in rows], [labels for _, _, labels in rows], message, len(payloads), rejected)

    def _message(self, payload: bytes, topic: bytes) -> list[tuple[list[float], bytes, tuple[bytes, ...]]]:
        columns, lines = self._lines(payload, topic)
        return [
            (self._line(line, columns), line[columns.time], tuple([line[column].strip() for column in columns.labels])) for line in lines
        ]

    def _readings(
        self,
        values: NDArray[np.float64],
        time_cells: Sequence[bytes],
        label_cells: Sequence[tuple[bytes, ...]],
        message: list[int],
        payloads: int,
        rejected: list[Rejected],
    ) -> Readings:
        bad: list[Bad] = []
        times = None
        if self._times:
            times, wrong = self._times.many(_times(time_cells, self._times.unit))
            bad = [(row, BAD_TIME, "") for row in wrong]
        labels = self._label_sets.many(label_cells, message, payloads, bad) if self._label_sets else None
        return sound(values, times, np.array(message, np.intp), labels, rejected, self._options.channels, bad)

    def _lines(self, payload: bytes, topic: bytes) -> tuple[_Columns, list[list[bytes]]]:
        """Split one message; a header line is taken off and remembered."""
        payload = payload.removeprefix(_BOM)
        lines = self._quoted(payload) if b'"' in payload else self._plain(payload)
        if not lines:
            raise Refused(WRONG_LENGTH, "no line in it")
        first = [cell.strip().decode("utf-8", "replace") for cell in lines[0]]
        if set(first).issuperset(self._options.channels):
            self._remember(topic, self._columns(first))
            lines = lines[1:]
        columns = self._headers.get(topic, self._default)
        if columns.missing and lines:
            raise Refused(MISSING, columns.missing)
        return columns, lines

    def _plain(self, payload: bytes) -> list[list[bytes]]:
        lines = [line.rstrip(b"\r") for line in payload.split(b"\n")]
        return [line.split(self._separator) for line in lines if line.strip()]

    def _quoted(self, payload: bytes) -> list[list[bytes]]:
        try:
            text = io.StringIO(payload.decode(), newline="")
            found = csv.reader(text, delimiter=self._options.separator, skipinitialspace=True, strict=True)
            return [[cell.encode() for cell in line] for line in found if line]
        except (csv.Error, UnicodeDecodeError) as error:
            raise Refused(MALFORMED, str(error)) from None

    def _line(self, line: list[bytes], columns: _Columns) -> list[float]:
        if len(line) != columns.width:
            raise Refused(WRONG_LENGTH, f"{len(line)} cells, not {columns.width}")
        return [_number(name, line[column]) for name, column in zip(self._options.channels, columns.channels)]

    def _columns(self, names: list[str]) -> _Columns:
        options = self._options
        wanted = [*options.channels, *options.labels, *([options.time] if options.time else [])]
        at = {name: i for i, name in reversed(list(enumerate(names)))}
        missing = next((name for name in wanted if name not in at), "")
        if missing:
            return _Columns(len(names), (), 0, (), missing)
        channels = tuple(at[name] for name in options.channels)
        return _Columns(len(names), channels, at.get(options.time, 0), tuple(at[name] for name in options.labels), "")

    def _remember(self, topic: bytes, columns: _Columns) -> None:
        self._headers.pop(topic, None)
        if len(self._headers) >= MAX_TOPICS:
            del self._headers[next(iter(self._headers))]
        self._headers[topic] = columns

    def _text(self, raw: tuple[bytes, ...]) -> Labels:
        return tuple([(name, label_bytes(name, value)) for name, value in zip(self._options.labels, raw)])


def _numbers(cells: Sequence[bytes], suspect: bool) -> list[float]:
    """Read numbers; ValueError where one is none. `suspect`: there may be Python's own digit groups (`1_000`), which are not taken."""
    if suspect and any(b"_" in cell for cell in cells):
        raise ValueError("not a number")
    return list(map(float, cells))


def _number(name: str, cell: bytes) -> float:
    try:
        return _numbers([cell], True)[0]
    except ValueError:
        raise Refused(WRONG_TYPE, f"{name} is {'not a number' if cell.strip() else 'empty'}") from None


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _times(cells: Sequence[bytes], unit: str) -> list[Any]:
    if unit == "iso":
        return [cell.strip().decode("utf-8", "replace") for cell in cells]
    try:
        return [int(cell) for cell in cells]
    except ValueError:
        return [_time(cell) for cell in cells]


def _time(cell: bytes) -> int | float | None:
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        return float(cell)
    except ValueError:
        return None
