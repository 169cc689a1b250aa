"""Write a JSON schema as a grammar (GBNF) that holds a model's answer to it.

GBNF is llama.cpp's own form of grammars (grammars/README.md there). Answers are written as `{"a": 1, "b": [2, 3]}`, with one space
and no line ends, in the order of the schema, required properties first: models that may write any space fill lines with it.
"""

from __future__ import annotations

import json
from typing import Any

# Without \u: half of a pair is no text. Without more digits: a small model repeats them to the end.
_TERMINALS = {
    "char": r'[^"\\\x7F\x00-\x1F] | [\\] ["\\/bfnrt]',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,9})?',
    "boolean": '"true" | "false"',
}


def grammar_of(schema: dict[str, Any]) -> str:
    """Give the grammar of a schema that `check_schema` took; its rule `root` is an answer."""
    rules = dict(_TERMINALS)
    root = _value(schema, rules)
    return "\n".join(f"{name} ::= {body}" for name, body in {"root": root, **rules}.items()) + "\n"


def _value(schema: dict[str, Any], rules: dict[str, str]) -> str:
    if "enum" in schema:
        return "(" + " | ".join(_literal(json.dumps(each, ensure_ascii=False)) for each in schema["enum"]) + ")"
    kind = schema["type"]
    if kind == "object":
        return _object(schema, rules)
    if kind == "array":
        item = _new(rules, _value(schema["items"], rules))
        rest = f"{{0,{schema['maxItems'] - 1}}}" if "maxItems" in schema else "*"
        return f'"[" ({item} (", " {item}){rest})? "]"'
    if kind == "string":
        most = f"{{0,{schema['maxLength']}}}" if "maxLength" in schema else "*"
        return rf'"\"" char{most} "\""'
    return str(kind)


def _object(schema: dict[str, Any], rules: dict[str, str]) -> str:
    named, required = schema["properties"], schema.get("required", [])
    pairs = {name: _literal(json.dumps(name, ensure_ascii=False) + ": ") + " " + _value(part, rules) for name, part in named.items()}
    first = [pairs[name] for name in named if name in required]
    # What may follow: after some pair, or as the first one. Each optional pair is there or not.
    after, alone = '""', '""'
    for name in reversed([name for name in named if name not in required]):
        pair = _new(rules, pairs[name])
        alone = _new(rules, f"{pair} {after} | {alone}")
        after = _new(rules, f'", " {pair} {after} | {after}')
    return f'"{{" {alone if not first else " ".join([_joined(first), after])} "}}"'


def _joined(pairs: list[str]) -> str:
    return ' ", " '.join(pairs)


def _new(rules: dict[str, str], body: str) -> str:
    name = f"r{len(rules)}"
    rules[name] = body
    return name


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
