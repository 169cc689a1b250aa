"""CBOR messages (RFC 8949) to readings, with the same paths, arrays and lists as `json`.

Only plain values count. A tag of RFC 8949 that marks a date (0, 1) or CBOR itself (55799) is
taken off; any other tagged value is opaque: it may stand in a field that is not asked for.
No tag's own decoder runs: regular expressions, shared references or big numbers of a
stranger's message are never built.
"""

from __future__ import annotations

from typing import Any

import cbor2
import numpy as np

from edged.config.schema import CborDecoder
from edged.records import MALFORMED, WRONG_LENGTH, Readings, Rejected
from edged.stream.decoders.paths import Paths, dict_leaves
from edged.stream.decoders.rows import ODD, Rows
from edged.stream.decoders.sound import Refused, take_each

MAX_DEPTH = 32

_OPAQUE = object()
_PLAIN_TAGS = (0, 1, 55799)
# Every tag that cbor2 would decode by itself; a test holds this list against the installed version.
_OPAQUE_TAGS = (2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000)

# cbor2 reads one item and leaves the rest, so each payload is read as the first of two items
# whose second is ours: bytes after the message then stand in its place.
_PAIR = b"\x82"
_END = b"\x43end"


class Cbor:
    """Decodes with the paths of one pipeline; used by one thread."""

    def __init__(self, options: CborDecoder, rate_hz: float) -> None:
        """`rate_hz` is the release's rate, 0 where it has none. Raises OperatorError(`bad-path`)."""
        self._paths = Paths(options)
        self._rows = Rows(options, rate_hz)
        self._leaves = dict_leaves(self._paths)

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Give the readings of `payloads`; a payload that gives none is in `rejected`. Raises nothing."""
        try:
            objects = list(map(load, payloads))  # type: ignore[arg-type]
            return self._rows.numbers(self._leaves, objects, np.arange(len(payloads)), len(payloads), [])
        except (*ODD, cbor2.CBORError):
            pass
        rejected: list[Rejected] = []
        found = take_each(enumerate(payloads), self._objects, rejected)
        return self._rows.gather(self._leaves, found, len(payloads), rejected)

    def _objects(self, _: int, payload: bytes) -> list[Any]:
        try:
            value = load(payload)
        except (*ODD, cbor2.CBORError) as error:
            raise Refused(MALFORMED, str(error)) from None
        if value == []:
            raise Refused(WRONG_LENGTH, "the list is empty")
        objects = value if type(value) is list else [value]
        for each in objects:
            if fault := self._paths.fault(each):
                raise fault
        return objects


def load(payload: bytes) -> Any:
    """Read one CBOR item that fills `payload`, tagged values made opaque.

    Raises cbor2.CBORError or ValueError; nesting beyond 32 and map keys that are not strings
    are errors (keys of other types can be made to collide, which costs quadratic time).
    """
    value, end = cbor2.loads(
        _PAIR + payload + _END,
        tag_hook=_opaque,
        semantic_decoders=_DECODERS,
        max_depth=MAX_DEPTH,
        strict_hashable_types=True,
    )
    if end != b"end":
        raise ValueError("bytes after the end")
    return value


def _opaque(value: object, immutable: bool) -> object:
    return _OPAQUE


def _untagged(value: object, immutable: bool) -> object:
    return value


_DECODERS = {**dict.fromkeys(_OPAQUE_TAGS, _opaque), **dict.fromkeys(_PLAIN_TAGS, _untagged)}
