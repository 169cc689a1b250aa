"""JSON schemas as far as edged takes them: which are taken, and whether a value keeps one.

Taken is what a grammar can hold a language model to: objects with named properties, strings, numbers, integers, booleans, values out
of a list, and arrays of these. Properties that a schema does not name are never taken (`additionalProperties` is false, also where
it is not said).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

MOST_DEPTH = 4
MOST_PROPERTIES = 64
MOST_VALUES = 256  # of an enum
MOST_LENGTH = 1000  # of a string with `maxLength`, of an array with `maxItems`: a grammar is written out so many times

_NOTES = {"title", "description"}
_ROOT_NOTES = _NOTES | {"$schema", "$id"}
# type → the keywords that go with it
_KEYWORDS: dict[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "string": {"maxLength"},
    "number": set(),
    "integer": set(),
    "boolean": set(),
    "array": {"items", "maxItems"},
}


def check_schema(schema: object) -> list[str]:
    """Give what is wrong with a schema, each with its place; empty: it is taken."""
    if not isinstance(schema, dict):
        return ["the schema is no object"]
    faults = list(_faults(schema, "", 0, _ROOT_NOTES))
    return faults or ([] if schema.get("type") == "object" else ["the schema's `type` is not object"])


def keeps(value: object, schema: dict[str, Any]) -> bool:
    """Say whether a value that JSON gave keeps a schema that `check_schema` took."""
    if "enum" in schema:
        return any(type(value) is type(each) and value == each for each in schema["enum"])
    kind = schema["type"]
    if kind == "object":
        named = schema.get("properties", {})
        return (
            isinstance(value, dict)
            and all(name in value for name in schema.get("required", ()))
            and all(name in named and keeps(part, named[name]) for name, part in value.items())
        )
    if kind == "array":
        most = schema.get("maxItems", math.inf)
        return isinstance(value, list) and len(value) <= most and all(keeps(part, schema["items"]) for part in value)
    if kind == "string":
        return isinstance(value, str) and len(value) <= schema.get("maxLength", math.inf)
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int if kind == "integer" else (int, float)):
        return False
    return math.isfinite(value)


def _faults(schema: object, at: str, depth: int, notes: set[str]) -> Iterator[str]:
    place = f"`{at}`" if at else "the schema"
    if not isinstance(schema, dict):
        yield f"{place} is no object"
        return
    if depth > MOST_DEPTH:
        yield f"{place} is nested more than {MOST_DEPTH} deep"
        return
    if "enum" in schema:
        yield from _enum_faults(schema, place, notes)
        return
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _KEYWORDS:
        yield f"{place} has the type {str(kind)[:40]!r}; known are {', '.join(_KEYWORDS)}, and `enum`"
        return
    for keyword in schema.keys() - _KEYWORDS[kind] - notes - {"type"}:
        yield f"{place} has `{str(keyword)[:40]}`, which is not known for the type {kind}"
    if kind == "object":
        yield from _object_faults(schema, at, place, depth)
    elif kind == "array":
        yield from _faults(schema.get("items"), f"{at}[]", depth + 1, _NOTES)
    for keyword in schema.keys() & {"maxLength", "maxItems"}:
        most = schema[keyword]
        if type(most) is not int or not 1 <= most <= MOST_LENGTH:
            yield f"{place} has a `{keyword}` that is no whole number from 1 to {MOST_LENGTH}"


def _object_faults(schema: dict[str, Any], at: str, place: str, depth: int) -> Iterator[str]:
    named, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(named, dict) or not 1 <= len(named) <= MOST_PROPERTIES:
        yield f"{place} needs `properties`, from 1 to {MOST_PROPERTIES}"
        return
    if schema.get("additionalProperties", False) is not False:
        yield f"{place} allows `additionalProperties`, which are never taken"
    if not isinstance(required, list):
        yield f"{place} has a `required` that is no list"
    elif absent := [name for name in required if not isinstance(name, str) or name not in named]:
        yield f"{place} requires `{str(absent[0])[:40]}`, which is none of its properties"
    elif len(set(required)) < len(required):
        yield f"{place} requires a property twice"
    for name, part in named.items():
        yield from _faults(part, f"{at}.{name[:40]}" if at else name[:40], depth + 1, _NOTES)


def _enum_faults(schema: dict[str, Any], place: str, notes: set[str]) -> Iterator[str]:
    values = schema["enum"]
    if schema.keys() - notes - {"enum", "type"}:
        yield f"{place} has an `enum` and more than a `type` beside it"
    if not isinstance(values, list) or not 1 <= len(values) <= MOST_VALUES:
        yield f"{place} needs from 1 to {MOST_VALUES} values in `enum`"
    elif not all(isinstance(each, (str, int, float)) and not (isinstance(each, float) and not math.isfinite(each)) for each in values):
        yield f"{place} has values in `enum` that are no strings, numbers or booleans"
    elif "type" in schema and (
        schema["type"] not in ("string", "number", "integer", "boolean")
        or not all(keeps(each, {"type": schema["type"]}) for each in values)
    ):
        yield f"{place} has values in `enum` that are not of its type"
