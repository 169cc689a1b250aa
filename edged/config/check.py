"""Hold a parsed TOML document against a struct type and report every fault, not the first.

`check` walks the document and the type side by side: unknown keys (with the nearest known
one), missing keys, wrong types and broken bounds each become a `Fault` with file, line and
key. What is sound is still built, so that checks of meaning can run beside these.
Used for the configuration, for `model.toml` and for device profiles.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from edged.config.places import Path, line_of, lines_of
from edged.errors import Fault

T = TypeVar("T")


class Document:
    """A TOML text, its values, and the faults found in it so far."""

    def __init__(self, file: str, text: str) -> None:
        """Parse `text`; a text that is not TOML gives an empty document with one fault."""
        self.file = file
        self.faults: list[Fault] = []
        self._lines = lines_of(text)
        self.values: dict[str, Any] = {}
        try:
            self.values = msgspec.toml.decode(text)
        except msgspec.DecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            fault = Fault(file, int(line[1]) if line else 0, "", "not-toml", f"not TOML: {error}", "see https://toml.io")
            self.faults.append(fault)

    def fault(self, path: Iterable[str | int], code: str, text: str, hint: str = "") -> None:
        """Note one more fault at `path`, such as `("pipelines", 0, "model")`."""
        path = tuple(path)
        self.faults.append(Fault(self.file, line_of(path, self._lines), dotted(path), code, text, hint))

    def check(self, type_: type[T], path: Path = (), value: Any = None) -> T | None:
        """Build `type_` (a msgspec Struct) from the document; None where a fault forbids it."""
        return _Walk(self).struct(self.values if value is None else value, type_, path)


def dotted(path: Iterable[str | int]) -> str:
    """Write a key path as a person would: `pipelines[0].source.topic`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


class _Walk:
    """One walk over one document; notes faults in it."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def struct(self, value: Any, type_: type[T], path: Path) -> T | None:
        if not isinstance(value, dict):
            self._document.fault(path, "wrong-type", f"is {_kind(value)}", "write a table")
            return None
        fields = {field.encode_name: field for field in structs.fields(type_)}
        tag = type_.__struct_config__.tag_field  # type: ignore[attr-defined]
        sound = self._known(value, [*fields, *([tag] if tag else [])], path)
        built: dict[str, Any] = {}
        for name, field in fields.items():
            if name in value:
                before = len(self._document.faults)
                built[field.name] = self._value(value[name], field.type, (*path, name))
                sound = sound and len(self._document.faults) == before
            elif field.required:
                self._document.fault((*path, name), "missing-key", "is missing", f"add `{name} = …`")
                sound = False
        return self._construct(type_, built, path) if sound else None

    def _construct(self, type_: type[T], built: dict[str, Any], path: Path) -> T | None:
        try:
            return type_(**built)
        except ValueError as error:  # a struct's own __post_init__ refuses
            text, _, hint = str(error).partition("; ")
            self._document.fault(path, "bad-value", text, hint)
            return None

    def _known(self, value: dict[str, Any], known: list[str], path: Path) -> bool:
        sound = True
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
                self._document.fault((*path, key), "unknown-key", "is not a known key", hint)
                sound = False
        return sound

    def _value(self, value: Any, annotation: Any, path: Path) -> Any:
        bare = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
        if _is_struct(bare):
            return self.struct(value, bare, path)
        arms = [arm for arm in typing.get_args(bare) if _is_struct(arm)]
        if arms and typing.get_origin(bare) in (typing.Union, types.UnionType) and isinstance(value, dict):
            return self._tagged(value, arms, path)
        item = _item_with_struct(bare)
        if item is None:
            return self._leaf(value, annotation, path)
        if isinstance(value, dict) and typing.get_origin(bare) is dict:
            return {key: self._value(each, item, (*path, key)) for key, each in value.items()}
        if isinstance(value, list) and typing.get_origin(bare) is list:
            self._length(value, annotation, path)
            return [self._value(each, item, (*path, i)) for i, each in enumerate(value)]
        self._document.fault(path, "wrong-type", f"is {_kind(value)}", f"write a {typing.get_origin(bare).__name__}")
        return None

    def _tagged(self, value: dict[str, Any], arms: list[Any], path: Path) -> Any:
        field = arms[0].__struct_config__.tag_field
        if field is None:
            return self.struct(value, arms[0], path)
        by_tag = {arm.__struct_config__.tag: arm for arm in arms}
        kind = value.get(field)
        if kind not in by_tag:
            text = f"`{kind}` is not a known {field}" if kind else f"has no `{field}`"
            self._document.fault((*path, field), "unknown-kind", text, f"one of: {', '.join(by_tag)}")
            return None
        return self.struct(value, by_tag[kind], path)

    def _length(self, value: list[Any], annotation: Any, path: Path) -> None:
        for meta in typing.get_args(annotation)[1:]:
            if getattr(meta, "min_length", None) and len(value) < meta.min_length:
                self._document.fault(path, "bad-value", "is empty", f"give at least {meta.min_length}")

    def _leaf(self, value: Any, annotation: Any, path: Path) -> Any:
        try:
            return msgspec.convert(value, annotation)
        except msgspec.ValidationError as error:
            text = str(error).split(" - at ")[0]
            self._document.fault(path, "bad-value", f"{_show(value)} does not fit: {text[0].lower()}{text[1:]}", _wanted(annotation))
            return None


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _item_with_struct(bare: Any) -> Any:
    """Give the item type of a list or dict whose items hold structs, else None."""
    if typing.get_origin(bare) not in (list, dict):
        return None
    item = typing.get_args(bare)[-1]
    inner = typing.get_args(item)[0] if typing.get_origin(item) is typing.Annotated else item
    return item if _is_struct(inner) or any(_is_struct(arm) for arm in typing.get_args(inner)) else None


def _wanted(annotation: Any) -> str:
    """Say what a leaf wants, from its annotation."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0] if not isinstance(annotation, type) else annotation
    if typing.get_origin(annotation) is typing.Literal:
        return "one of: " + ", ".join(map(str, typing.get_args(annotation)))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    wanted = names.get(typing.get_origin(annotation) or annotation)
    return f"write {wanted}" if wanted else ""


def _kind(value: Any) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), type(value).__name__)


def _show(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else text[:57] + "…"
