"""Dotted paths into objects: which values a decoder wants, how they are fetched, what is wrong without them.

`acc.x` is the value under key `x` of the object under key `acc`. A key with a dot in its name
cannot be reached. Used by the decoders of objects (`json`, `cbor`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from edged.config.schema import JsonDecoder
from edged.errors import OperatorError
from edged.records import BAD_TIME, MISSING, OUT_OF_RANGE, WRONG_TYPE
from edged.stream.decoders.sound import Refused, kind

Path = tuple[str, ...]
_NUMBERS = frozenset((int, float))
_LABELS = frozenset((str, int, float, bool))
_ABSENT = object()


class Paths:
    """The paths of one decoder's options, split; `time` is () without event time."""

    def __init__(self, options: JsonDecoder) -> None:
        """Split and check. Raises OperatorError(`bad-path`)."""
        self.channels = [_split(each) for each in options.channels]
        self.time = _split(options.time) if options.time else ()
        self.labels = [_split(each) for each in options.labels]
        self.iso = options.time_unit == "iso"
        self.every = [*self.channels, *([self.time] if self.time else []), *self.labels]
        for i, path in enumerate(self.every):
            for other in self.every[:i]:
                short = min(len(path), len(other))
                if path[:short] == other[:short]:
                    text = f"`{'.'.join(other)}` and `{'.'.join(path)}` clash"
                    raise OperatorError("bad-path", text, "name each value once, and no value inside another")

    def fault(self, value: object) -> Refused | None:
        """Say why the object `value` cannot be a message; None where all its types are right."""
        if type(value) is not dict:
            return Refused(WRONG_TYPE, f"the message is {kind(value)}")
        for path in self.channels:
            found = _follow(value, path)
            if found is _ABSENT:
                return Refused(MISSING, ".".join(path))
            if fault := _channel_fault(path, found):
                return fault
        for path in self.labels:
            found = _follow(value, path)
            if found is _ABSENT:
                return Refused(MISSING, ".".join(path))
            if type(found) not in _LABELS:
                return Refused(WRONG_TYPE, f"label {'.'.join(path)} is {kind(found)}")
        return self._time_fault(_follow(value, self.time)) if self.time else None

    def _time_fault(self, found: object) -> Refused | None:
        if found is _ABSENT:
            return Refused(BAD_TIME, f"{'.'.join(self.time)} is missing")
        wanted = {str} if self.iso else _NUMBERS
        for each in found if type(found) is list else (found,):
            if type(each) not in wanted:
                return Refused(BAD_TIME, f"{'.'.join(self.time)} is {kind(each)}")
        return None


class Leaves:
    """Fetches the wanted values from objects of one kind: structs or dicts.

    The functions are generated, as `namedtuple` does: on the hot path they cost a third of
    `operator.attrgetter`. Their text holds our own names only, keys are bound as values.
    """

    def __init__(self, paths: Paths, fetch: Callable[[Path], str], names: dict[str, Any], typed: bool) -> None:
        """`fetch` writes the expression of a path on `o`; `typed` says the values' types are known to be right."""
        self._typed = typed
        self.channels = _function(map(fetch, paths.channels), names)
        self.labels = _function(map(fetch, paths.labels), names)
        self.time: Callable[[Any], Any] = eval(f"lambda o: {fetch(paths.time)}", {**names}) if paths.time else _function((), names)

    def flat(self, objects: Sequence[Any]) -> Iterable[Any]:
        """Give all channel values of all objects in a row. Raises LookupError or TypeError where one is missing or no number."""
        values = chain.from_iterable(map(self.channels, objects))
        if self._typed:
            return values
        held = list(values)
        if not _NUMBERS.issuperset(map(type, held)):
            raise TypeError("not only numbers")
        return held


def dict_leaves(paths: Paths) -> Leaves:
    """Give the leaves of dicts; fetching raises KeyError or TypeError where a value is missing."""
    keys = sorted({part for path in paths.every for part in path})
    names = {key: f"k{i}" for i, key in enumerate(keys)}
    return Leaves(paths, lambda path: "o" + "".join(f"[{names[part]}]" for part in path), {names[key]: key for key in keys}, False)


def _function(expressions: Iterable[str], names: dict[str, Any]) -> Callable[[Any], tuple[Any, ...]]:
    function: Callable[[Any], tuple[Any, ...]] = eval(f"lambda o: ({''.join(f'{each}, ' for each in expressions)})", {**names})
    return function


def _split(path: str) -> Path:
    parts = tuple(path.split("."))
    if not all(parts):
        raise OperatorError("bad-path", f"`{path}` is not a dotted path", "write it as `acc.x`")
    return parts


def _follow(value: Any, path: Path) -> Any:
    for part in path:
        if type(value) is not dict or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _channel_fault(path: Path, found: Any) -> Refused | None:
    for each in found if type(found) is list else (found,):
        if type(each) not in _NUMBERS:
            return Refused(WRONG_TYPE, f"{'.'.join(path)} is {kind(each)}")
        try:
            float(each)
        except OverflowError:
            return Refused(OUT_OF_RANGE, ".".join(path))
    return None
