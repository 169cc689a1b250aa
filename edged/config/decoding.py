"""What the keys of a decoder say of each other: channels, columns, fields, layout, scale."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edged.config.check import Document
from edged.config.layout import BadLayout, fields_of
from edged.config.places import Path
from edged.config.schema import BridgeDecoder, CsvDecoder, Decoder, PackedDecoder, TextDecoder
from edged.config.words import show

_NAME_LISTS = ("channels", "columns", "fields", "labels")


def check_decoder(decoder: Decoder, path: Path, document: Document) -> None:
    """Note each contradiction in a decoder, a draft that stands at `path`."""
    for key in _NAME_LISTS:
        _check_names(getattr(decoder, key, None) or [], (*path, key), document)
    if isinstance(decoder, CsvDecoder):
        _check_columns(decoder, path, document)
    elif isinstance(decoder, PackedDecoder):
        _check_packed(decoder, path, document)


def labels_of(decoder: Decoder | None) -> set[str] | None:
    """Give the labels that a decoder takes from a message; None where only the messages tell."""
    if isinstance(decoder, (PackedDecoder, TextDecoder, BridgeDecoder)):
        return set()
    labels = getattr(decoder, "labels", None)
    return None if labels is None else {label for label in labels if label is not None}


def _check_names(names: list[str], path: Path, document: Document) -> None:
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name == "":
            document.fault((*path, i), "bad-value", "is empty", "write a name")
        elif name in seen:
            document.fault((*path, i), "duplicate-name", f"{show(name)} is there twice", "remove one, or mend the name")
        if name is not None:
            seen.add(name)


def _check_columns(decoder: CsvDecoder, path: Path, document: Document) -> None:
    if decoder.separator in ("\n", "\r", '"'):
        document.fault((*path, "separator"), "bad-value", f"{show(decoder.separator)} cannot part columns", 'write one such as ","')
    if decoder.columns:
        _check_known(decoder, ("channels", "labels", "time"), "columns", path, document)


def _check_packed(decoder: PackedDecoder, path: Path, document: Document) -> None:
    if decoder.fields:
        _check_known(decoder, ("channels", "time"), "fields", path, document)
    if decoder.layout is not None:
        _check_layout(decoder, path, document)
    scale = decoder.scale
    if isinstance(scale, list) and decoder.channels is not None and len(scale) != len(decoder.channels):
        text = f"has {len(scale)} numbers for {len(decoder.channels)} channels"
        document.fault((*path, "scale"), "wrong-count", text, "give one number, or one for each channel")
    if not all(math.isfinite(each) for each in (scale if isinstance(scale, list) else [scale]) if each is not None):
        document.fault((*path, "scale"), "bad-value", "is not finite", "write a finite number")


def _check_layout(decoder: PackedDecoder, path: Path, document: Document) -> None:
    try:
        letters = fields_of(decoder.layout)
    except BadLayout as error:
        text, hint = error.args
        document.fault((*path, "layout"), "bad-layout", f"{show(decoder.layout)} {text}", hint)
        return
    if None in (decoder.fields, decoder.channels, decoder.time):
        return
    names = decoder.fields or [*([decoder.time] if decoder.time else []), *decoder.channels]
    if len(letters) != len(names):
        text = f"{show(decoder.layout)} has {_count(len(letters), 'field')} for {_count(len(names), 'name')}"
        where = "`fields`" if decoder.fields else "`fields`: without it they are the time, if any, then the channels"
        document.fault((*path, "layout"), "wrong-count", text, f"name each field in {where}")


def _check_known(decoder: CsvDecoder | PackedDecoder, keys: Iterable[str], among: str, path: Path, document: Document) -> None:
    """Note each name in the lists (or single names) `keys` that the list `among` does not have."""
    known = getattr(decoder, among)
    for key in keys:
        value = getattr(decoder, key)
        places = [((*path, key), value)] if isinstance(value, str) else [((*path, key, i), name) for i, name in enumerate(value or [])]
        for place, name in places:
            if name and name not in known:
                listed = ", ".join(show(each) for each in known[:20] if each is not None)
                document.fault(place, "unknown-name", f"{show(name)} is not in `{among}`", f"there are {listed}")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
