"""Texts made of a JSON message's fields: `{output.score}` is a field's value, `{{` and `}}` are braces."""

from __future__ import annotations

import re

Path = tuple[str, ...]

_PART = re.compile(r"\{\{|\}\}|\{([^{}\s]+)\}|[{}]|[^{}]+")


def parse_render(render: str) -> list[str | Path]:
    """Give what `input.render` is made of: plain text, and paths of fields, in order.

    Raises ValueError, in words for people, for a brace that belongs to no field, and for a path with an empty part.
    """
    parts: list[str | Path] = []
    for match in _PART.finditer(render):
        piece = match[0]
        if match[1] is not None:
            path = tuple(match[1].split("."))
            if not all(path):
                raise ValueError(f"`{piece[:60]}`, which is not the path of a field")
            parts.append(path)
        elif piece in ("{", "}"):
            raise ValueError(f"a `{piece}` at character {match.start() + 1} that belongs to no field; a brace itself is written twice")
        else:
            parts.append(piece[0] if piece in ("{{", "}}") else piece)
    return parts
