"""JSON messages to readings.

Each payload is decoded by itself, so that no message can touch another. Three ways: the narrow
form (one object of numbers) is a typed decode that skips unused fields and makes no dict; the
wide form also takes arrays, lists of objects, float times and labels that are no text; only
what neither takes is decoded freely, to name what is wrong with it.
Fields that are not asked for are skipped unchecked; of a repeated key the last one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from edged.config.schema import JsonDecoder
from edged.records import MALFORMED, OUT_OF_RANGE, WRONG_LENGTH, WRONG_TYPE, Readings, Rejected
from edged.stream.decoders.paths import Leaves, Path, Paths
from edged.stream.decoders.rows import ODD, Rows
from edged.stream.decoders.sound import Refused, take_each

# Narrow times: a float holds whole seconds exactly, milliseconds and finer are integers.
_NARROW_TIME: dict[str, Any] = {"s": float, "ms": int, "us": int, "ns": int, "iso": str}

_REFUSED = (*ODD, msgspec.DecodeError)


class Json:
    """Decodes with the paths of one pipeline; used by one thread."""

    def __init__(self, options: JsonDecoder, rate_hz: float) -> None:
        """`rate_hz` is the release's rate, 0 where it has none. Raises OperatorError(`bad-path`)."""
        self._paths = Paths(options)
        self._rows = Rows(options, rate_hz)
        iso = options.time_unit == "iso"
        narrow, names = _struct(self._paths, float, _NARROW_TIME[options.time_unit], str)
        wide, _ = _struct(
            self._paths, float | list[float], str | list[str] if iso else int | float | list[int | float], str | int | float | bool
        )
        self._narrow: Callable[[bytes], Any] = msgspec.json.Decoder(narrow).decode
        self._wide: Callable[[bytes], Any] = msgspec.json.Decoder(wide | list[wide]).decode  # type: ignore[valid-type]
        self._leaves = Leaves(self._paths, lambda path: f"o.{names[path]}", {}, True)

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Give the readings of `payloads`; a payload that gives none is in `rejected`. Raises nothing."""
        readings = self._batch(self._narrow, payloads) or self._batch(self._wide, payloads)
        if readings is not None:
            return readings
        rejected: list[Rejected] = []
        found = take_each(enumerate(payloads), self._objects, rejected)
        return self._rows.gather(self._leaves, found, len(payloads), rejected)

    def _batch(self, form: Callable[[bytes], Any], payloads: list[bytes | None]) -> Readings | None:
        try:
            objects = list(map(form, payloads))  # type: ignore[arg-type]
            return self._rows.numbers(self._leaves, objects, np.arange(len(payloads)), len(payloads), [])
        except _REFUSED:
            return None

    def _objects(self, _: int, payload: bytes) -> list[Any]:
        try:
            got = self._wide(payload)
        except _REFUSED as error:
            raise self._why(payload, error) from None
        if got == []:
            raise Refused(WRONG_LENGTH, "the list is empty")
        return got if type(got) is list else [got]

    def _why(self, payload: bytes, error: Exception) -> Refused:
        try:
            value = msgspec.json.decode(payload)
        except msgspec.ValidationError as limit:  # sound JSON with a number that no double holds
            return Refused(OUT_OF_RANGE, str(limit))
        except _REFUSED as wrong:
            return Refused(MALFORMED, str(wrong))
        for each in value if type(value) is list else [value]:
            if fault := self._paths.fault(each):
                return fault
        return Refused(WRONG_TYPE, str(error))


def _struct(paths: Paths, channel: Any, time: Any, label: Any) -> tuple[type, dict[Path, str]]:
    """Build the nested struct for `paths`; also give each path's attribute, such as `f0.f2`."""
    types = {**dict.fromkeys(paths.channels, channel), **dict.fromkeys(paths.labels, label)}
    if paths.time:
        types[paths.time] = time
    names: dict[Path, str] = {}

    def build(prefix: Path, attribute: str) -> type:
        keys = list(dict.fromkeys(path[len(prefix)] for path in types if path[: len(prefix)] == prefix))
        fields: list[tuple[str, Any]] = []
        for i, key in enumerate(keys):
            path = (*prefix, key)
            names[path] = f"{attribute}f{i}"
            fields.append((f"f{i}", types[path] if path in types else build(path, f"{attribute}f{i}.")))
        rename: Callable[[str], str | None] = {name: key for (name, _), key in zip(fields, keys)}.get
        return msgspec.defstruct("Message", fields, rename=rename, gc=False)

    return build((), ""), names
