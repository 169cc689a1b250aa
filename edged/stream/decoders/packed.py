"""Binary records of one fixed layout to readings: numpy views, no Python object per reading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.config.layout import BadLayout, fields_of
from edged.config.schema import PackedDecoder
from edged.errors import OperatorError
from edged.records import BAD_TIME, WRONG_LENGTH, Readings, Rejected
from edged.stream.decoders.sound import Floats, Refused, nothing, sound, take_each
from edged.stream.decoders.times import Times

_TYPES = {"b": "i1", "B": "u1", "h": "i2", "H": "u2", "i": "i4", "I": "u4", "l": "i4", "L": "u4", "q": "i8", "Q": "u8"}
_TYPES |= {"e": "f2", "f": "f4", "d": "f8"}

# The largest integer of a layout (64 bits) times this still fits float32.
_SAFE_SCALE = 1e18


class Packed:
    """Decodes records of one layout; used by one thread."""

    def __init__(self, options: PackedDecoder) -> None:
        """Raises OperatorError (`bad-layout`, `bad-fields`, `bad-scale`)."""
        self._channels = options.channels
        names = options.fields or [*([options.time] if options.time else []), *options.channels]
        self._record = _record(options.layout, names)
        self._size = self._record.itemsize
        self._time = options.time
        self._times = Times(options.time_unit)
        for name in [*options.channels, *([options.time] if options.time else [])]:
            if name not in names:
                raise OperatorError("bad-fields", f"`{name}` is not among the fields", "name it in `fields`")
        scale = np.broadcast_to(_scale(options), len(options.channels))
        kinds = [self._record[name] for name in options.channels]
        self._whole = all(each.kind != "f" for each in kinds) and bool((np.abs(scale) <= _SAFE_SCALE).all())
        self._type = np.float32 if self._whole else np.float64
        self._scale = scale.astype(self._type)
        plain = list(self._record.names or ()) == options.channels and len(set(kinds)) == 1 and self._size == kinds[0].itemsize * len(kinds)
        self._plain = kinds[0] if plain else None

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Give the readings of `payloads`; a payload that gives none is in `rejected`. Raises nothing."""
        size = self._size
        if all(payload and not len(payload) % size for payload in payloads):
            return self._records(payloads, range(len(payloads)), [])  # type: ignore[arg-type]
        rejected: list[Rejected] = []
        taken = take_each(enumerate(payloads), self._whole_records, rejected)
        if not taken:
            return nothing(len(self._channels), bool(self._time), None, rejected)
        return self._records([payload for _, payload in taken], [i for i, _ in taken], rejected)

    def _whole_records(self, _: int, payload: bytes) -> bytes:
        if not payload or len(payload) % self._size:
            raise Refused(WRONG_LENGTH, f"{len(payload)} bytes, records are of {self._size}")
        return payload

    def _records(self, payloads: list[bytes], index: Sequence[int], rejected: list[Rejected]) -> Readings:
        data = b"".join(payloads)
        message = np.repeat(np.array(index, np.intp), [len(payload) // self._size for payload in payloads])
        if self._plain is not None:
            values = self._scaled(np.frombuffer(data, self._plain).reshape(-1, len(self._channels)), self._scale)
            return self._done(values, None, message, rejected, [])
        records = np.frombuffer(data, self._record)
        values = np.empty((len(records), len(self._channels)), self._type)
        for column, name in enumerate(self._channels):
            values[:, column] = self._scaled(records[name], self._scale[column])
        if not self._time:
            return self._done(values, None, message, rejected, [])
        times, bad = self._times.array(records[self._time])
        return self._done(values, times, message, rejected, bad)

    def _scaled(self, raw: NDArray[np.number[Any]], scale: Any) -> Floats:
        if self._whole:
            return np.multiply(raw, scale, dtype=np.float32)
        with np.errstate(all="ignore"):  # a sender's NaN or overflow is refused later, not warned of
            return np.multiply(raw, scale, dtype=np.float64)

    def _done(
        self,
        values: Floats,
        times: NDArray[np.int64] | None,
        message: NDArray[np.intp],
        rejected: list[Rejected],
        bad: list[int],
    ) -> Readings:
        if self._whole and not bad:
            return Readings(values, times, message, None, rejected)
        return sound(values, times, message, None, rejected, self._channels, [(row, BAD_TIME, "") for row in bad])


def _record(layout: str, names: list[str]) -> np.dtype[np.void]:
    try:
        letters = fields_of(layout)
    except BadLayout as error:
        raise OperatorError("bad-layout", f"layout `{layout}` {error.args[0]}", error.args[1]) from None
    if len(names) != len(letters) or len(set(names)) != len(names):
        raise OperatorError("bad-fields", f"layout `{layout}` has {len(letters)} fields, named are {len(names)}", "name each field once")
    order = ">" if layout[0] in ">!" else "<" if layout[0] == "<" else "="
    formats, offsets, offset = [], [], 0
    for count, letter in re.findall("([0-9]*)(.)", layout[1:]):
        for _ in range(int(count or 1)):
            if letter == "x":
                offset += 1
                continue
            formats.append(np.dtype(order + _TYPES[letter]))
            offsets.append(offset)
            offset += formats[-1].itemsize
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": offset})


def _scale(options: PackedDecoder) -> NDArray[np.float64]:
    scale = np.array(options.scale, np.float64)
    if (scale.ndim and len(scale) != len(options.channels)) or not np.isfinite(scale).all():
        raise OperatorError("bad-scale", "`scale` does not fit the channels", "give one finite number, or one for each channel")
    return scale
