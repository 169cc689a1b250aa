"""What is sound in a `model.toml`, part by part, so that each is judged even where another is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

from edged.config.check import Document, dotted
from edged.models.schema import Cascade, Input, Output, Quality, Variant

T = TypeVar("T")
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Parts:
    """The parts of a document: a key with a fault counts as left out, and as `broken`. Variants are by their place."""

    task: str
    input: Input | None
    output: Output | None
    quality: Quality | None
    variants: dict[int, Variant]
    cascade: Cascade | None
    broken: frozenset[str]


def sound_parts(document: Document) -> Parts:
    """Give what is sound in a parsed document whose faults by type are noted."""
    broken = frozenset(re.sub(r"^((?:variants\[\d+\]\.)?\w+\.?\w*).*", r"\1", fault.key) for fault in document.faults)
    values = document.values
    scratch = Document(document.file, "")  # what it finds is in `document` already

    def part(path: Path, table: Any, type_: type[T]) -> T | None:
        if not isinstance(table, dict):
            return None
        return scratch.check(type_, path, {key: each for key, each in table.items() if dotted((*path, key)) not in broken})

    listed = values.get("variants")
    variants = {i: part(("variants", i), each, Variant) for i, each in enumerate(listed[:64] if isinstance(listed, list) else [])}
    return Parts(
        "" if "task" in broken else str(values.get("task", "")),
        part(("input",), values.get("input"), Input),
        part(("output",), values.get("output", {}), Output),
        part(("quality",), values.get("quality"), Quality),
        {i: variant for i, variant in variants.items() if variant},
        part(("cascade",), values.get("cascade"), Cascade),
        broken,
    )
