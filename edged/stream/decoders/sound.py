"""The last gate of every decoder: only finite readings with a sound time become `Readings`.

A message is taken whole or not at all: one bad reading refuses its message, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edged.records import NOT_FINITE, OUT_OF_RANGE, TOO_LARGE, Readings, Rejected

Labels = tuple[tuple[str, str], ...]
Bad = tuple[int, str, str]  # reading, reason, detail
Floats = NDArray[np.floating[Any]]
T = TypeVar("T")
U = TypeVar("U")

FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_DETAIL = 120

# One dot product is six times cheaper than abs, max and compare on a small batch. It proves the
# bound: a value beyond float32 squares to more than this, and NaN compares false. It is kept
# to small arrays because BLAS starts threads for large ones.
_SQUARES = FLOAT32_MAX * FLOAT32_MAX * 0.99
_SMALL = 4096


class Refused(Exception):
    """One message cannot be taken; `reason` is a constant of `edged.records`. Never leaves a decoder."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def of(self, message: int) -> Rejected:
        """Give the record for the message with this index; the detail is cut to a bounded length."""
        return Rejected(message, self.reason, self.detail[:MAX_DETAIL])


def take_each(messages: Iterable[tuple[int, T | None]], read: Callable[[int, T], U], rejected: list[Rejected]) -> list[tuple[int, U]]:
    """Give (index, what `read` gives) for each (index, message) that it does not refuse; the others go to `rejected`.

    A message of None was too large for its source.
    """
    taken: list[tuple[int, U]] = []
    for i, message in messages:
        _take(i, message, read, taken, rejected)
    return taken


def _take(i: int, message: T | None, read: Callable[[int, T], U], taken: list[tuple[int, U]], rejected: list[Rejected]) -> None:
    if message is None:
        rejected.append(Rejected(i, TOO_LARGE))
        return
    try:
        taken.append((i, read(i, message)))
    except Refused as refused:
        rejected.append(refused.of(i))


def kind(value: object) -> str:
    """Name the type of a decoded value for a person."""
    return _KINDS.get(type(value), "neither number nor text")


_KINDS: dict[type, str] = {
    **{bool: "true or false", int: "a number", float: "a number", str: "text", bytes: "bytes"},
    **{list: "an array", dict: "an object", type(None): "null"},
}


def sound(
    values: Floats,
    times: NDArray[np.int64] | None,
    message: NDArray[np.intp],
    labels: list[Labels] | None,
    rejected: list[Rejected],
    channels: Sequence[str],
    bad: Sequence[Bad] = (),
) -> Readings:
    """Give `Readings` of all messages without a bad reading.

    `values` is float32 or float64 [n, channels], `message` as in `Readings`. `bad` holds
    (row, reason, detail) for readings already known to be wrong; values that are not finite
    or do not fit float32 are found here. `rejected` is what was refused before.
    """
    if not bad and _bounded(values):
        return Readings(values.astype(np.float32, "C", copy=False), times, message, labels, rejected)
    refused = {int(message[row]): Rejected(int(message[row]), reason, detail) for row, reason, detail in reversed(bad)}
    refused = {**_beyond(values, message, channels), **refused}
    keep = ~np.isin(message, list(refused))
    if labels is not None:
        labels = [() if i in refused else each for i, each in enumerate(labels)]
    times = None if times is None else times[keep]
    everyone = sorted([*rejected, *refused.values()], key=lambda each: each.message)
    return Readings(values[keep].astype(np.float32), times, message[keep], labels, everyone)


def nothing(channels: int, timed: bool, labels: list[Labels] | None, rejected: list[Rejected]) -> Readings:
    """Give `Readings` without a reading."""
    times = np.empty(0, np.int64) if timed else None
    return Readings(np.empty((0, channels), np.float32), times, np.empty(0, np.intp), labels, rejected)


def _bounded(values: Floats) -> bool:
    if values.dtype == np.float32:
        return bool(np.isfinite(values).all())
    if values.size <= _SMALL:
        flat = values.ravel()
        return bool(flat.dot(flat) < _SQUARES) or bool((np.abs(flat) <= FLOAT32_MAX).all())
    return bool((np.abs(values) <= FLOAT32_MAX).all())


def _beyond(values: Floats, message: NDArray[np.intp], channels: Sequence[str]) -> dict[int, Rejected]:
    fits = np.abs(values) <= FLOAT32_MAX
    rows = np.nonzero(~fits.all(axis=1))[0]
    found = {}
    for at in np.unique(message[rows], return_index=True)[1]:
        row = rows[at]
        column = int(np.argmin(fits[row]))
        reason = OUT_OF_RANGE if np.isfinite(values[row, column]) else NOT_FINITE
        found[int(message[row])] = Rejected(int(message[row]), reason, channels[column])
    return found
