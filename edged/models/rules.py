"""What the keys of a `model.toml` say of each other, beyond the type of each.

Each part of the document that is sound by itself is judged even where another is not, so
that the publisher sees all faults in one go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from edged.config.check import Document, dotted
from edged.models.schema import Alarm, Input, Output, Variant
from edged.models.sound import Parts, Path, sound_parts
from edged.models.text_rules import check_cascade, check_heads, check_numbers, check_texts

MAX_VALUES = 1 << 24  # of one input: 64 MiB of float32
RESERVED = ("model.toml", "release.json")
_TASKS_OF = {
    "labels": ("classify",),
    "score": ("anomaly",),
    "threshold": ("anomaly",),
    "anomalous": ("anomaly",),
    "schema": ("extract",),
    "max_tokens": ("extract", "generate"),
    "stop": ("generate",),
    "temperature": ("generate",),
}


def check_meaning(document: Document) -> None:
    """Note in `document` (a parsed `model.toml`) each contradiction between its keys."""
    parts = sound_parts(document)
    _finite(document, parts.broken)
    if parts.input:
        if parts.input.kind == "text":
            check_texts(document, parts)
        else:
            check_numbers(document, parts)
            _input(document, parts.input)
    if parts.output:
        _output(document, parts.output, parts)
    _variants(document, parts)
    check_heads(document, parts)
    if parts.cascade:
        check_cascade(document, parts.cascade, parts)


def _finite(document: Document, broken: frozenset[str]) -> None:
    """TOML knows nan and inf; no number of a manifest may be one."""
    for path, value in _leaves((), document.values):
        if isinstance(value, float) and not math.isfinite(value) and dotted(path) not in broken:
            document.fault(path, "not-finite", f"is {value}", "write a finite number")


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves((*path, key), each)
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _leaves((*path, i), each)
    else:
        yield path, value


def _input(document: Document, input_: Input) -> None:
    given = document.values["input"]
    wanted = ("channels", "samples", "hop", "rate_hz") if input_.kind == "window" else ("channels", "samples")
    for key in wanted:
        if key not in given:
            document.fault(("input", key), "missing-key", f"is missing; kind `{input_.kind}` needs it", f"add `{key} = …`")
    if input_.kind == "tensor" and "hop" in given:
        document.fault(("input", "hop"), "wrong-kind", "is for windows; with kind `tensor` each message is one input", "remove it")
    if input_.kind == "window" and given.get("hop") == 0:
        document.fault(
            ("input", "hop"), "bad-value", "is 0: no window would ever be cut", "write 1 or more; `samples` for windows side by side"
        )
    if input_.kind == "window" and given.get("rate_hz") == 0:
        document.fault(("input", "rate_hz"), "bad-value", "is 0", "write how many readings come in a second")
    if given.get("channels") == []:
        document.fault(("input", "channels"), "bad-value", "is empty", "give at least one channel")
    _names(document, ("input", "channels"), input_.channels, "channel")
    if len(input_.channels) * input_.samples > MAX_VALUES:
        text = f"{input_.samples} readings of {len(input_.channels)} channels are more than {MAX_VALUES} values"
        document.fault(("input", "samples"), "too-large", text, "cut the window shorter")


def _names(document: Document, path: Path, names: list[str], word: str) -> None:
    seen: set[str] = set()
    for i, name in enumerate(names):
        if not name.strip() or not name.isprintable() or len(name) > 200:
            document.fault((*path, i), "bad-value", f"is not a name: {name[:40]!r}", "write 1 to 200 printable characters")
        elif name in seen:
            document.fault((*path, i), "duplicate", f"`{name}` is there twice", f"each {word} needs a name of its own")
        seen.add(name)


def _output(document: Document, output: Output, parts: Parts) -> None:
    given = document.values.get("output", {})
    for key, tasks in _TASKS_OF.items():
        if key in given and parts.task not in ("", *tasks):
            text = f"is for task {' or '.join(f'`{task}`' for task in tasks)}, and the task is `{parts.task}`"
            document.fault(("output", key), "wrong-task", text, "remove it, or mend `task`")
    if parts.task == "classify" and "output.labels" not in parts.broken:
        if not output.labels:
            document.fault(("output", "labels"), "missing-key", "is missing; task `classify` needs it", "add `labels = […]`")
        _names(document, ("output", "labels"), output.labels, "label")
    if parts.task == "anomaly" and "threshold" not in given:
        hint = "add `threshold = …`, the score where it begins"
        document.fault(("output", "threshold"), "missing-key", "is missing; task `anomaly` needs it", hint)
    if output.smooth and output.smooth.op == "vote" and parts.task not in ("", "classify"):
        document.fault(
            ("output", "smooth", "op"), "wrong-task", "`vote` counts labels, and only task `classify` has them", "write mean or ewma"
        )
    if output.alarm and parts.task:
        _alarm(document, output.alarm, output, parts)


def _alarm(document: Document, alarm: Alarm, output: Output, parts: Parts) -> None:
    path = ("output", "alarm")
    if parts.task == "classify":
        if alarm.label not in output.labels and "output.labels" not in parts.broken:
            text = f"`{alarm.label}` is not one of the labels" if alarm.label else "is missing"
            document.fault((*path, "label"), "unknown-label", text, f"one of: {', '.join(output.labels[:20])}")
    elif parts.task != "anomaly":
        document.fault(path, "wrong-task", f"needs a score, and task `{parts.task}` has none", "remove it")
    elif alarm.label:
        document.fault((*path, "label"), "wrong-task", "is for task `classify`; here the score itself is judged", "remove it")
    below = parts.task == "anomaly" and output.anomalous == "below"
    if (alarm.on > alarm.off) if below else (alarm.on < alarm.off):
        side, order = ("above", "less") if below else ("below", "more")
        document.fault((*path, "on"), "bad-value", f"{alarm.on} is {side} off = {alarm.off}", f"on must be off or {order}")


def _variants(document: Document, parts: Parts) -> None:
    seen: dict[str, int] = {}
    for i, variant in parts.variants.items():
        if variant.name in seen:
            text = f"`{variant.name}` is the name of variants[{seen[variant.name]}] too"
            document.fault(("variants", i, "name"), "duplicate", text, "each variant needs a name of its own")
        seen.setdefault(variant.name, i)
        _variant(document, i, variant)
    _minimum(document, parts)


def _variant(document: Document, i: int, variant: Variant) -> None:
    path = ("variants", i)
    _file_name(document, (*path, "file"), variant.file)
    if variant.head:
        _file_name(document, (*path, "head"), variant.head)
    golden = variant.golden
    if golden:
        _file_name(document, (*path, "golden", "file"), golden.file)
        if golden.atol is None and golden.agree is None:
            document.fault((*path, "golden"), "missing-key", "says no tolerance", "add `atol = …` or `agree = …`")


def _file_name(document: Document, path: Path, name: str) -> None:
    if not is_plain(name):
        hint = "letters, digits, `.`, `_`, `-`; the file lies beside model.toml"
        document.fault(path, "bad-file-name", f"is not a plain file name: {name[:60]!r}", hint)
    elif name.lower() in RESERVED:
        document.fault(path, "bad-file-name", f"`{name}` is a file of the release itself", "give it another name")


def is_plain(name: str) -> bool:
    """Say whether `name` is one path component of plain characters: never hidden, never `..`."""
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", name) is not None


def _minimum(document: Document, parts: Parts) -> None:
    """A minimum that no variant reaches means that the model can run nowhere."""
    quality, variants = parts.quality, parts.variants
    given = document.values.get("variants")
    if quality is None or quality.minimum is None or not variants or not isinstance(given, list) or len(variants) < len(given):
        return
    sign = 1 if quality.higher_is_better else -1
    if all(v.quality is not None and sign * v.quality < sign * quality.minimum for v in variants.values()):
        best = max(sign * (v.quality or 0) for v in variants.values()) * sign
        text = f"{quality.minimum} excludes every variant; the best has {best}"
        document.fault(("quality", "minimum"), "excludes-all", text, "lower it, or add a better variant")
