"""A release as lines for people; pure. What comes from its publisher is cleaned before it is shown."""

from __future__ import annotations

from typing import Any

from edged.cli.columns import clean, wrap_words
from edged.cli.variants import variants_table
from edged.models.costs import Costs
from edged.models.schema import Alarm, Cascade, Input, Manifest, Output

_LONGEST = 400
_INDENT = 12


def release_lines(manifest: Manifest, costs: dict[str, Costs], width: int, colour: bool) -> list[str]:
    """Write a release in lines of at most `width` columns: what it is, what goes in and out, its variants."""
    facts = {
        "model": f"{manifest.name} {manifest.version}, release {manifest.release}, {manifest.task}",
        "about": manifest.description,
        "licence": manifest.licence,
        **{key: _text(value) for key, value in manifest.provenance.items()},
        "input": _input(manifest.input),
        "output": _output(manifest.task, manifest.output),
        "cascade": _cascade(manifest.cascade),
        "quality": _quality(manifest),
    }
    lines: list[str] = []
    for key, text in facts.items():
        if text:
            lines += wrap_words(clean(text)[:_LONGEST], width, clean(key)[: _INDENT - 1].ljust(_INDENT), " " * _INDENT)
    return [*lines, "", *variants_table(manifest, costs, width, colour)]


def _text(value: Any) -> str:
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _input(input_: Input) -> str:
    if input_.kind == "text":
        return _text_input(input_)
    rate = f" at {input_.rate_hz:g} Hz" if input_.rate_hz else ""
    names = ", ".join(input_.channels[:8]) + (", …" if len(input_.channels) > 8 else "")
    step = f", a window every {input_.hop}" if input_.kind == "window" else ", one message each"
    ops = " → ".join(str(op.__struct_config__.tag) for op in input_.preprocess)
    return f"{input_.samples} readings of {len(input_.channels)} channels ({names}){rate}{step}" + (f"; {ops}" if ops else "")


def _text_input(input_: Input) -> str:
    parts = [f"text, at most {input_.max_chars:,} characters, of longer ones the {input_.keep}"]
    if input_.render:
        parts.append(f"made of a message as {input_.render!r}")
    if input_.template != "{text}":
        parts.append(f"asked as {input_.template!r}")
    if input_.examples:
        parts.append(f"{len(input_.examples)} examples")
    return "; ".join([*parts, *(["in the turns of the model's chat template"] if input_.chat else [])])


def _output(task: str, output: Output) -> str:
    parts = []
    if task == "classify":
        parts.append(", ".join(output.labels[:20]) + (", …" if len(output.labels) > 20 else ""))
    if task == "anomaly":
        parts.append(f"{output.score}, anomaly {output.anomalous} {output.threshold:g}")
    if task == "extract":
        parts.append(f"JSON with {', '.join(map(str, output.schema.get('properties', {})))}")
    if task in ("extract", "generate"):
        parts.append(f"at most {output.max_tokens} tokens")
    if output.smooth:
        parts.append(f"{output.smooth.op} of {output.smooth.windows} windows")
    if output.alarm:
        parts.append(_alarm(output.alarm))
    return "; ".join(parts)


def _alarm(alarm: Alarm) -> str:
    label = f" {alarm.label}" if alarm.label else ""
    return f"alarm{label} on at {alarm.on:g}, off at {alarm.off:g}"


def _cascade(cascade: Cascade | None) -> str:
    if cascade is None:
        return ""
    limits = [f", {each.per_hour:,} an hour" if each.per_hour else "" for each in cascade.stages]
    stages = [f"{each.use} from {each.accept:g} on{limit}" for each, limit in zip(cascade.stages, limits)]
    return " → ".join(stages)


def _quality(manifest: Manifest) -> str:
    quality = manifest.quality
    if quality is None:
        return ""
    minimum = "" if quality.minimum is None else f", {'at least' if quality.higher_is_better else 'at most'} {quality.minimum:g}"
    return f"{quality.metric}{minimum}" + (f" ({quality.dataset})" if quality.dataset else "")
