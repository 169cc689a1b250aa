"""Lines as sketches print them, to readings without a word of configuration: numbers in columns, pairs, or JSON.

What a line holds, says `firmware_bridge.columns`. Columns are found by the names that a header,
pairs or JSON give them, as a firmware's channels are (`edged.stream.channels`); without names they are the
model's channels in their order. Everything else is a debug print: it gives nothing, is counted,
and disturbs no reading. Such lines carry no event time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.models.manifest import Input
from edged.records import MISSING, WRONG_LENGTH, Readings, Rejected
from edged.stream.channels import firmware_columns, names_one
from edged.stream.decoders.sound import Refused, nothing, sound, take_each
from firmware_bridge.columns import names_of, split

DEBUG_PRINT = "debug-print"

_SHOWN = 60  # bytes of a debug print


class Sketch:
    """Decodes the lines of one pipeline; used by one thread."""

    def __init__(self, given: Input, before: Sketch | None = None) -> None:
        """`before` is the decoder for the release before: the header it saw holds still."""
        self._channels = given.channels
        self._told: list[str] = before._told if before else []  # names that may be a header, or `x, stuck`
        self._header: list[str] = before._header if before else []  # those that a line with as many numbers followed
        self._last_names: list[str] = []
        self._last_columns: NDArray[np.intp] | None = None

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Give the readings of `payloads`, each a line; one that gives none is in `rejected`, but for headers. Raises nothing."""
        try:
            return self._alike(payloads)  # type: ignore[arg-type]
        except (ValueError, TypeError, AttributeError):
            return self._each(payloads)

    def _alike(self, payloads: list[bytes]) -> Readings:
        """Take lines that are all the model's channels between commas; ValueError, TypeError or AttributeError where one differs."""
        joined = b"\n".join(payloads)
        commas = len(self._channels) - 1
        if self._told or b"_" in joined or any(payload.count(b",") != commas for payload in payloads):
            raise ValueError("not all of one width, without names")
        values = np.array(list(map(float, joined.replace(b"\n", b",").split(b","))), np.float64).reshape(len(payloads), -1)
        return sound(values, None, np.arange(len(payloads)), None, [], self._channels)

    def _each(self, payloads: list[bytes | None]) -> Readings:
        rejected: list[Rejected] = []
        taken = [(i, row) for i, row in take_each(enumerate(payloads), self._line, rejected) if row]
        if not taken:
            return nothing(len(self._channels), False, None, rejected)
        values = np.array([row for _, row in taken], np.float64)
        return sound(values, None, np.array([i for i, _ in taken], np.intp), None, rejected, self._channels)

    def _line(self, _: int, line: bytes) -> list[float]:
        """Give the model's channels of one line; nothing of a header, which is remembered."""
        cells, names = split(line), names_of(line)
        if cells is None:
            if names and any(names_one(names, channel) for channel in self._channels):
                self._told = names
                return []
            raise Refused(DEBUG_PRINT, line[:_SHOWN].decode("utf-8", "replace"))
        numbers = [float(cell) for cell in cells]
        if not names:
            if len(self._told) == len(numbers):
                self._header = self._told
            names = self._header
        if names:
            return self._named(numbers, names)
        if len(numbers) != len(self._channels):
            raise Refused(WRONG_LENGTH, f"{len(numbers)} numbers, the model wants {len(self._channels)}: {', '.join(self._channels)}")
        return numbers

    def _named(self, numbers: list[float], names: list[str]) -> list[float]:
        if len(names) != len(numbers):
            raise Refused(WRONG_LENGTH, f"{len(numbers)} numbers under {len(names)} names")
        if names != self._last_names:
            self._last_names, self._last_columns = names, firmware_columns(names, self._channels)
        if self._last_columns is None:
            missing = next((channel for channel in self._channels if not names_one(names, channel)), "")
            raise Refused(MISSING, missing)
        return [numbers[column] for column in self._last_columns]
