"""Hold a parsed TOML document against a struct type and report every fault, not the first.

`check` walks the document and the type side by side: unknown keys (with the nearest known
one), missing keys, wrong types and broken bounds each become a `Fault` with file, line and
key. `draft` gives what is sound even where the rest is not, so that checks of meaning can
run beside these. Used for the configuration and for `model.toml`.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from functools import cache, cached_property
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import structs

from edged.config.places import Path, line_of, lines_of
from edged.config.words import bare, dotted, is_struct, kind, metas, plain, show, struct_arms, wanted
from edged.errors import Fault

__all__ = ["ENVIRONMENT", "Document", "Path", "Variable", "dotted"]

T = TypeVar("T")

ENVIRONMENT = "environment"
# Deeper than any file of ours needs; without a limit, code that walks a document runs out of stack.
MAX_DEPTH = 32
# A dotted key of many parts, which costs the parser time by the square of its parts.
_KEY_PART = r"""(?:[\w-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*(?:{_KEY_PART}){{{MAX_DEPTH}}}", re.MULTILINE)


class Variable(NamedTuple):
    """An environment variable that stands in for a key: its name, and its text as it was set.

    The text is None for a table or list that is there only because the variable names a key in it.
    """

    name: str
    text: str | None


class Document:
    """A TOML text, its values, and the faults found in it so far.

    `replaced` says which key paths have their value from the environment; a fault at or
    below such a path names the variable instead of a line.
    """

    def __init__(self, file: str, text: str) -> None:
        """Parse `text`; a text that is not TOML gives an empty document with one fault."""
        self.file = file
        self.faults: list[Fault] = []
        self.values: dict[str, Any] = {}
        self.replaced: dict[Path, Variable] = {}
        self._text = text
        if long_key := _LONG_KEY.search(text):
            self._refuse(text.count("\n", 0, long_key.end()) + 1, f"is nested deeper than {MAX_DEPTH} levels")
            return
        try:
            values = msgspec.toml.decode(text)
        except msgspec.DecodeError as error:
            self._refuse(_line_in(str(error), text), f"not TOML: {plain(str(error))}")
        except RecursionError:
            self._refuse(0, "is nested too deep")
        except ValueError as error:  # a number of thousands of digits
            self._refuse(0, f"not TOML: {plain(str(error))}")
        else:
            if _deeper_than(values, MAX_DEPTH):
                self._refuse(0, f"is nested deeper than {MAX_DEPTH} levels")
            else:
                self.values = values

    def _refuse(self, line: int, text: str) -> None:
        hint = 'a text needs "quotes", a list [ ], a table { }; see https://toml.io'
        self.faults.append(Fault(self.file, line, "", "not-toml", text, hint))

    @cached_property
    def _lines(self) -> dict[Path, int]:
        return lines_of(self._text)

    def fault(self, path: Iterable[str | int], code: str, text: str, hint: str = "") -> None:
        """Note one more fault at `path`, such as `("pipelines", 0, "model")`."""
        path = tuple(path)
        for end in range(len(path), 0, -1):
            if variable := self.replaced.get(path[:end]):
                inner = dotted(path[end:])
                self.faults.append(Fault(ENVIRONMENT, 0, variable.name, code, f"{inner}: {text}" if inner else text, hint))
                return
        self.faults.append(Fault(self.file, line_of(path, self._lines) if path else 0, dotted(path), code, text, hint))

    def check(self, type_: type[T], path: Path = (), value: Any = None) -> T | None:
        """Build `type_` (a msgspec Struct) from the document, or from `value`; None where a fault forbids it."""
        before = len(self.faults)
        built = self.draft(type_, path, value)
        return built if len(self.faults) == before else None

    def draft(self, type_: type[T], path: Path = (), value: Any = None) -> T | None:
        """Build `type_` as `check` does, with None in place of each key or list item that has a fault.

        None is given for a value that is no table, and for a struct whose own
        `__post_init__` could not see all of its keys, or refuses them.
        """
        return _Walk(self).struct(self.values if value is None else value, type_, path)


@cache
def _fields(type_: type[Any]) -> dict[str, structs.FieldInfo]:
    """Give the fields of a struct by the keys of a file; msgspec evaluates all annotations each time it is asked."""
    return {field.encode_name: field for field in structs.fields(type_)}


class _Walk:
    """One walk over one document; notes faults in it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._fault = document.fault

    def struct(self, value: Any, type_: type[T], path: Path) -> T | None:
        if not isinstance(value, dict):
            self._fault(path, "wrong-type", f"is {kind(value)}", "write a table")
            return None
        before = len(self._document.faults)
        fields = _fields(type_)  # type: ignore[arg-type]
        tag = type_.__struct_config__.tag_field  # type: ignore[attr-defined]
        self._known(value, [*fields, *([tag] if tag else [])], path)
        built: dict[str, Any] = {}
        for name, field in fields.items():
            if name in value:
                built[field.name] = self._value(value[name], field.type, (*path, name))
            elif field.required:
                self._fault((*path, name), "missing-key", "is missing", f"add {_example(name, field.type, path)}")
                built[field.name] = None
        if len(self._document.faults) > before and hasattr(type_, "__post_init__"):
            return None
        return self._construct(type_, built, path)

    def _construct(self, type_: type[T], built: dict[str, Any], path: Path) -> T | None:
        try:
            return type_(**built)
        except ValueError as error:  # a struct's own __post_init__ refuses
            text, _, hint = str(error).partition("; ")
            self._fault(path, "bad-value", text, hint)
            return None

    def _known(self, value: dict[str, Any], known: list[str], path: Path) -> None:
        for key in value:
            if key not in known:
                near = _nearest(key, known)
                hint = f"did you mean `{near}`?" if near else f"known here: {', '.join(known)}"
                self._fault((*path, key), "unknown-key", "is not a known key", hint)

    def _value(self, value: Any, annotation: Any, path: Path) -> Any:
        type_ = bare(annotation)
        if is_struct(type_):
            return self.struct(value, type_, path)
        arms = struct_arms(annotation)
        if arms and isinstance(value, dict):
            return self._tagged(value, arms, path)
        origin, args = typing.get_origin(type_), typing.get_args(type_)
        holds_structs = bool(args) and (is_struct(bare(args[-1])) or bool(struct_arms(args[-1])))
        if origin is dict and holds_structs and isinstance(value, dict):
            return {key: self._value(each, args[-1], (*path, key)) for key, each in value.items()}
        if origin is list and isinstance(value, list) and (holds_structs or not _fits(value, type_)):
            self._length(value, annotation, path)
            return [self._value(each, args[0], (*path, i)) for i, each in enumerate(value)]
        return self._leaf(value, annotation, path)

    def _tagged(self, value: dict[str, Any], arms: list[Any], path: Path) -> Any:
        field = arms[0].__struct_config__.tag_field
        if field is None:
            return self.struct(value, arms[0], path)
        by_tag = {arm.__struct_config__.tag: arm for arm in arms}
        given = value.get(field)
        if isinstance(given, str) and given in by_tag:
            return self.struct(value, by_tag[given], path)
        text = f"has no `{field}`" if given is None else f"{show(given)} is not a known {field}"
        near = _nearest(given, list(by_tag)) if isinstance(given, str) else ""
        hint = f'did you mean "{near}"?' if near else f"one of: {', '.join(by_tag)}"
        self._fault((*path, field), "unknown-kind", text, hint)
        return None

    def _length(self, value: list[Any], annotation: Any, path: Path) -> None:
        for meta in metas(annotation):
            if meta.min_length is not None and len(value) < meta.min_length:
                text = "is empty" if not value else f"has {len(value)} entries"
                self._fault(path, "bad-value", text, f"give at least {meta.min_length}")
            if meta.max_length is not None and len(value) > meta.max_length:
                self._fault(path, "bad-value", f"has {len(value)} entries", f"give at most {meta.max_length}")

    def _leaf(self, value: Any, annotation: Any, path: Path) -> Any:
        if _fits(value, annotation):
            return msgspec.convert(value, annotation)
        variable = self._document.replaced.get(path)
        if variable and variable.text is not None and _fits(variable.text, annotation):  # `5` in the environment may mean the text "5"
            return variable.text
        if isinstance(value, list) and not value:
            self._fault(path, "bad-value", "is empty", f"write {wanted(annotation)}")
        else:
            self._fault(path, "bad-value", f"{show(value)} does not fit", f"write {wanted(annotation)}")
        return None


def _fits(value: Any, annotation: Any) -> bool:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _nearest(key: str, known: list[str]) -> str:
    import difflib  # late: a file without faults does not need it

    near = difflib.get_close_matches(key[:64], known, 1)
    return near[0] if near else ""


def _example(name: str, annotation: Any, path: Path) -> str:
    """Say how a missing key is begun."""
    items = typing.get_args(bare(annotation))
    if typing.get_origin(bare(annotation)) is list and is_struct(bare(items[0])) and not path:
        return f"a table `[[{name}]]`"
    if is_struct(bare(annotation)) or struct_arms(annotation):
        return f"`{name} = {{ … }}`"
    return f"`{name} = …`, {wanted(annotation)}"


def _line_in(error: str, text: str) -> int:
    """Take the line out of a parser's message."""
    if match := re.search(r"\(at line (\d+), column \d+\)$", error):
        return int(match[1])
    return text.rstrip().count("\n") + 1 if error.endswith("(at end of document)") else 0


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [each for item in level for each in (item.values() if isinstance(item, dict) else item) if isinstance(each, (dict, list))]
        if not level:
            return False
    return True
