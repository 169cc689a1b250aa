"""Event times in any unit to int64 nanoseconds since 1970 UTC.

Integers stay exact; a float is rounded to the nearest nanosecond of its own value. A time
that does not fit int64 (years 1677 to 2262), is NaN or of a wrong type is bad, never an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.clock import NS

FACTORS = {"s": NS, "ms": 1_000_000, "us": 1_000, "ns": 1}

_MAX = 2**63 - 1
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9})[0-9]{0,20})?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class Times:
    """Turns times of one unit (`s`, `ms`, `us`, `ns` or `iso`) into nanoseconds."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._factor = FACTORS.get(unit, 0)
        self._float_limit = 9.2e18 / max(1, self._factor)

    def many(self, raw: Sequence[object]) -> tuple[NDArray[np.int64], list[int]]:
        """Turn each of `raw` into nanoseconds; also give the indices of the bad ones (0 stands for them)."""
        kinds = set(map(type, raw))
        if kinds == {float} and self._factor:
            return self.array(np.array(raw, np.float64))
        if kinds == {int} and self._factor:
            factor = self._factor
            try:
                return np.fromiter([each * factor for each in raw], np.int64, len(raw)), []  # type: ignore[operator]
            except OverflowError:
                pass
        return self._one_by_one(raw)

    def array(self, raw: NDArray[np.number[Any]]) -> tuple[NDArray[np.int64], list[int]]:
        """Turn an array of integers or floats [n] into nanoseconds, as `many` does."""
        factor = self._factor
        if raw.dtype.kind != "f":
            whole = raw.astype(np.int64)
            limit = _MAX // factor
            wrong = (whole > limit) | (whole < -limit) | ((raw > 0) != (whole > 0))
            return np.where(wrong, 0, whole) * factor, np.nonzero(wrong)[0].tolist()
        seconds = raw.astype(np.float64)
        wrong = ~(np.abs(seconds) <= self._float_limit)
        bad: list[int] = []
        if wrong.any():
            bad = np.nonzero(wrong)[0].tolist()
            seconds[wrong] = 0.0
        floor = np.floor(seconds)
        return floor.astype(np.int64) * factor + np.rint((seconds - floor) * factor).astype(np.int64), bad

    def _one_by_one(self, raw: Sequence[object]) -> tuple[NDArray[np.int64], list[int]]:
        out = np.zeros(len(raw), np.int64)
        bad = []
        for i, each in enumerate(raw):
            ns = self._one(each)
            if ns is None:
                bad.append(i)
            else:
                out[i] = ns
        return out, bad

    def _one(self, value: object) -> int | None:
        try:
            ns = self._exact(value)
        except (ValueError, TypeError, OverflowError):
            return None
        return ns if ~_MAX <= ns <= _MAX else None

    def _exact(self, value: object) -> int:
        if not self._factor:
            return iso_ns(value)  # type: ignore[arg-type]
        if type(value) is int:
            return value * self._factor
        if type(value) is float:
            if not abs(value) <= self._float_limit:
                raise OverflowError("beyond int64")
            floor = math.floor(value)
            return floor * self._factor + round((value - floor) * self._factor)
        raise TypeError("not a number")


def iso_ns(text: str) -> int:
    """Read an ISO 8601 date and time, such as `2026-11-22T04:12:21.123456789+01:00`, as nanoseconds.

    Without a zone it is UTC; digits beyond the nanosecond are dropped; second 60 is the next
    minute. Raises ValueError (or TypeError where `text` is not text).
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError("not ISO 8601")
    minute, second, fraction, zone = match.groups()
    seconds = int(second or 0)
    if seconds > 60:
        raise ValueError("no such second")
    return (_minute(minute) - _shift(zone) + seconds) * NS + (int(fraction.ljust(9, "0")) if fraction else 0)


# Consecutive readings share their minute and their zone.
@lru_cache(64)
def _minute(text: str) -> int:
    hour, minute = int(text[11:13]), int(text[14:16])
    if hour > 23 or minute > 59:
        raise ValueError("no such time of day")
    day = date(int(text[:4]), int(text[5:7]), int(text[8:10])).toordinal() - _EPOCH_DAY
    return (day * 24 + hour) * 3600 + minute * 60


@lru_cache(64)
def _shift(zone: str | None) -> int:
    if not zone or zone in "Zz":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return -seconds if zone[0] == "-" else seconds
