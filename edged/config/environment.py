"""Put `EDGED__MQTT__MAIN__URL=…` over the values of a document.

Two underscores part the levels, capitals do not matter, a number is an index into a list.
A value is read as TOML where it is TOML, else as text; where a key wants a text, `5` is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edged.config.check import ENVIRONMENT, MAX_DEPTH, Document, Path, Variable
from edged.config.words import dotted, kind
from edged.errors import Fault

PREFIX = "EDGED__"


def apply(environ: Mapping[str, str], document: Document) -> None:
    """Replace values of `document` by those of `environ`; what cannot be placed becomes a fault.

    Variables are taken in the order of their names, so that `…__0` comes before `…__1`.
    """
    for name in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        parts = name[len(PREFIX) :].lower().split("__")
        problem = _unusable(parts, environ[name]) or _place(document, parts, Variable(name, environ[name]))
        if problem:
            hint = "write it as EDGED__TABLE__KEY, such as EDGED__MQTT__MAIN__URL"
            document.faults.append(Fault(ENVIRONMENT, 0, name, "bad-variable", problem, hint))


def _unusable(parts: list[str], text: str) -> str:
    if not all(parts) or len(parts) >= MAX_DEPTH:
        return "does not name a key"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return ""


def _place(document: Document, parts: list[str], variable: Variable) -> str:
    """Set one value; give what stands in the way, or nothing."""
    here: Any = document.values
    path: Path = ()
    for i, part in enumerate(parts):
        if not isinstance(here, (dict, list)):
            return f"`{dotted(path)}` is {kind(here)} and has no keys"
        key: Any = part if isinstance(here, dict) else _index(part, len(here))
        if key is None:
            return f"`{dotted(path)}` is a list of {len(here)}: `{part}` is not one of its indexes, which count from 0"
        path = (*path, key)
        is_new = key not in here if isinstance(here, dict) else key == len(here)
        if i == len(parts) - 1:
            _put(here, key, _value(variable.text or ""))
            document.replaced[path] = variable
        elif is_new:
            _put(here, key, [] if parts[i + 1].isdecimal() else {})
            document.replaced[path] = Variable(variable.name, None)  # what is missing in it, is missing because of this variable
        here = here[key]
    return ""


def _index(part: str, length: int) -> int | None:
    """Read an index into a list, or the one behind its end; None where it is neither."""
    index = int(part) if part.isdecimal() and len(part) < 9 else -1
    return index if 0 <= index <= length else None


def _put(here: Any, key: str | int, value: Any) -> None:
    if isinstance(here, list) and key == len(here):
        here.append(value)
    else:
        here[key] = value


def _value(text: str) -> Any:
    read = Document(ENVIRONMENT, f"value = {text}")
    return read.values["value"] if list(read.values) == ["value"] else text
