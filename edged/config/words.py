"""Say in plain words what a type wants, and show a value as a person would write it.

Faults and `docs/configuration.md` use the same words.
"""

from __future__ import annotations

import json
import re
import types
import typing
from typing import Any

import msgspec

_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a table"}
_MANY = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts", list: "lists", dict: "tables"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 60


def bare(annotation: Any) -> Any:
    """Take the type out of `Annotated[type, …]`."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def metas(annotation: Any) -> list[msgspec.Meta]:
    """Give the `Meta` of `Annotated[type, Meta(…), …]`, inner ones first."""
    return [arg for arg in typing.get_args(annotation) if isinstance(arg, msgspec.Meta)]


def is_struct(annotation: Any) -> bool:
    """Tell whether `annotation` is a msgspec Struct class."""
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def struct_arms(annotation: Any) -> list[Any]:
    """Give the Struct classes of a union; empty for all other types."""
    if typing.get_origin(bare(annotation)) not in (typing.Union, types.UnionType):
        return []
    return [arm for arm in typing.get_args(bare(annotation)) if is_struct(arm)]


def wanted(annotation: Any) -> str:
    """Say what may be written for a type, with its bounds: `a whole number from 5 to 3600`."""
    type_ = bare(annotation)
    origin = typing.get_origin(type_) or type_
    if origin is typing.Literal:
        return "one of " + ", ".join(show(choice) for choice in typing.get_args(type_))
    if arms := struct_arms(type_):
        field = arms[0].__struct_config__.tag_field
        return f"a table with `{field}`" if field else "a table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(wanted(arm) for arm in typing.get_args(type_) if arm is not type(None))
    words = _PLAIN.get(origin, "a table" if is_struct(type_) else "another value")
    if origin is list:
        words += _items(typing.get_args(type_))
    return words + "".join(_bounds(meta, origin) for meta in metas(annotation))


def _items(args: tuple[Any, ...]) -> str:
    if not args:
        return ""
    item = bare(args[0])
    many = _MANY.get(typing.get_origin(item) or item, "tables" if is_struct(item) or struct_arms(item) else "values")
    return f" of {many}" + "".join(_bounds(meta, item) for meta in metas(args[0]))


def _bounds(meta: msgspec.Meta, type_: Any) -> str:
    if meta.pattern is not None:
        return f" of {(meta.extra or {}).get('words') or f'the form `{meta.pattern}`'}"
    if meta.min_length is not None or meta.max_length is not None:
        return _length(meta, "characters" if type_ is str else "entries")
    if meta.ge is not None and meta.le is not None:
        return f" from {_bound(meta.ge)} to {_bound(meta.le)}"
    words = {"greater than": meta.gt, "at least": meta.ge, "less than": meta.lt, "at most": meta.le}
    given = [f"{word} {_bound(bound)}" for word, bound in words.items() if bound is not None]
    return ", " + " and ".join(given) if given else ""


def _bound(value: float) -> str:
    """Write 0.0 as 0: `Annotated` takes types with equal bounds for one type, and gives the one that was made first."""
    return str(value).removesuffix(".0")


def _length(meta: msgspec.Meta, unit: str) -> str:
    least, most = meta.min_length, meta.max_length
    if least == most:
        return f" of exactly {least} {unit[:-1] if least == 1 else unit}"
    if most is None:
        return ", not empty" if least == 1 else f" of at least {least} {unit}"
    return f" of {least} to {most} {unit}" if least else f" of at most {most} {unit}"


def show(value: Any) -> str:
    """Write a value of a file as it may stand in a message: one short line, nothing that a terminal obeys."""
    if isinstance(value, str):
        return _short(plain(json.dumps(value, ensure_ascii=False)))
    if isinstance(value, (list, dict)):
        return _PLAIN[type(value)]
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of far too many digits"
    return _short(str(value).lower() if isinstance(value, bool) else str(value))


def plain(text: str) -> str:
    """Replace what a terminal would obey or cannot show by its escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def kind(value: Any) -> str:
    """Say of which kind a value is."""
    return {**_PLAIN, int: "a number"}.get(type(value), "a date or time")


def dotted(path: typing.Iterable[str | int]) -> str:
    """Write a key path as a person would: `pipelines[0].source.topic`."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else show(part)
            out += f".{key}" if out else key
    return out


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
