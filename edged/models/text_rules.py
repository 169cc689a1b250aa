"""What the keys of a `model.toml` for texts say of each other, and which keys are for texts alone."""

from __future__ import annotations

from typing import Any

import msgspec

from edged.config.check import Document
from edged.json_schema import check_schema, keeps
from edged.models.schema import Cascade, Input, Output, Variant
from edged.models.sound import Parts
from edged.models.template import parse_render

TEXT_KEYS = ("template", "system", "examples", "chat", "max_chars", "keep", "render")  # of [input]
_TASKS = ("classify", "extract", "generate", "embed")
_WRITTEN = ("extract", "generate")
_MEND_TASK = "remove it, or mend `task`"


def check_texts(document: Document, parts: Parts) -> None:
    """Note each contradiction of a manifest whose `kind` is text."""
    assert parts.input is not None
    if parts.task not in ("", *_TASKS):
        document.fault(("task",), "wrong-task", f"`{parts.task}` is for numbers, and the input is a text", f"one of: {', '.join(_TASKS)}")
    _input(document, parts.input, parts)
    if parts.output:
        _output(document, parts.output, parts)
    for i, variant in parts.variants.items():
        _variant(document, i, variant, parts)


def _input(document: Document, input_: Input, parts: Parts) -> None:
    for key in document.values["input"].keys() & (set(Input.__struct_fields__) - {"kind", *TEXT_KEYS}):
        document.fault(("input", key), "wrong-kind", "is for numbers, and a text has none", "remove it, or mend `kind`")
    if (count := input_.template.count("{text}")) != 1:
        document.fault(("input", "template"), "bad-value", f"has `{{text}}` {count} times", "write it once, where the text is to stand")
    if input_.render:
        _render(document, input_.render)
    for i, example in enumerate(input_.examples):
        place = ("input", "examples", i, "answer")
        if parts.task == "classify" and parts.output and "output.labels" not in parts.broken and example.answer not in parts.output.labels:
            hint = f"one of: {', '.join(parts.output.labels[:20])}"
            document.fault(place, "unknown-label", f"`{example.answer[:60]}` is not one of the labels", hint)


def _render(document: Document, render: str) -> None:
    text = "names no field of the message, so that every text would be the same"
    try:
        if any(isinstance(part, tuple) for part in parse_render(render)):
            return
    except ValueError as error:
        text = f"has {error}"
    document.fault(("input", "render"), "bad-value", text, "write a field's path in braces, such as `{output.score}`")


def _keeps(answer: str, schema: dict[str, Any]) -> bool:
    try:
        return keeps(msgspec.json.decode(answer.encode()), schema)
    except (ValueError, RecursionError):
        return False


def _output(document: Document, output: Output, parts: Parts) -> None:
    given = document.values.get("output", {})
    if "activation" in given:
        text = "is for graphs; scores of texts always add up to 1"
        document.fault(("output", "activation"), "wrong-kind", text, "remove it, or mend `kind`")
    if output.smooth and parts.task not in ("", "classify"):
        document.fault(("output", "smooth"), "wrong-task", f"is for scores, and task `{parts.task}` has none on texts", _MEND_TASK)
    if parts.task == "extract" and "output.schema" not in parts.broken:
        _schema(document, output, parts)


def _schema(document: Document, output: Output, parts: Parts) -> None:
    place, schema = ("output", "schema"), output.schema
    if not schema:
        hint = 'add `[output.schema]` with `type = "object"` and `properties`'
        document.fault(place, "missing-key", "is missing; task `extract` needs it", hint)
        return
    faults = check_schema(schema)
    for fault in faults:
        document.fault(place, "bad-value", fault, "take only what a grammar can hold a model to, see docs/text.md")
    for i, example in enumerate(parts.input.examples if parts.input and not faults else []):
        if not _keeps(example.answer, schema):
            text = "is not JSON that keeps the schema, and such is what the model is to write"
            document.fault(("input", "examples", i, "answer"), "bad-value", text, "write it as the schema says")


def _variant(document: Document, i: int, variant: Variant, parts: Parts) -> None:
    place = ("variants", i)
    if variant.engine == "tflite":
        document.fault((*place, "engine"), "wrong-engine", "`tflite` runs on numbers, and the input is a text", "llama or linear")
        return
    if variant.engine == "linear" and parts.task not in ("", "classify"):
        document.fault((*place, "engine"), "wrong-engine", f"`linear` gives labels, and the task is `{parts.task}`", "write llama")
    if variant.engine == "linear" and variant.context:
        document.fault((*place, "context"), "wrong-engine", "is for engine llama", "remove it, or mend `engine`")
    longest = parts.output.max_tokens if parts.output and parts.task in _WRITTEN else 0
    if 0 < variant.context <= longest:
        text = f"{variant.context} tokens leave no room for a prompt beside an answer of {longest}"
        document.fault((*place, "context"), "bad-value", text, "write more, or fewer `max_tokens`, or leave it out")
    if variant.golden and parts.output and parts.output.temperature > 0:
        text = "cannot be held: with `temperature` above 0 each answer is another"
        document.fault((*place, "golden"), "bad-value", text, "remove it, or `temperature` of [output]")
    if variant.golden and variant.golden.atol is not None and parts.task in _WRITTEN:
        text = "is for numbers; answers in words are the same or they are not"
        document.fault((*place, "golden", "atol"), "wrong-task", text, "write `agree = …`, the least part of equal answers")


def check_numbers(document: Document, parts: Parts) -> None:
    """Note what is for texts in a manifest whose `kind` is another."""
    if parts.task in _WRITTEN:
        document.fault(("task",), "wrong-task", f"`{parts.task}` is for texts", 'write `kind = "text"` in [input], or mend `task`')
    for key in document.values["input"].keys() & set(TEXT_KEYS):
        document.fault(("input", key), "wrong-kind", "is for texts", 'remove it, or write `kind = "text"`')
    for i, variant in parts.variants.items():
        if variant.engine != "tflite":
            text = f"`{variant.engine}` takes texts, and the input is of numbers"
            document.fault(("variants", i, "engine"), "wrong-engine", text, 'write tflite, or `kind = "text"` in [input]')


def check_heads(document: Document, parts: Parts) -> None:
    """Note heads where no embedding is made into labels, and temperatures where there are no scores."""
    for i, variant in parts.variants.items():
        if variant.head and (variant.engine != "llama" or parts.task not in ("", "classify")):
            hint = "remove it, or mend `engine` or `task`"
            document.fault(("variants", i, "head"), "wrong-engine", "is for engine llama and task `classify`", hint)
        if variant.temperature != 1.0 and parts.task not in ("", "classify"):
            text = f"is for task `classify`, and the task is `{parts.task}`"
            document.fault(("variants", i, "temperature"), "wrong-task", text, _MEND_TASK)
        elif variant.temperature != 1.0 and variant.engine == "tflite":
            text = "is for texts; a graph's scores are taken as they are"
            document.fault(("variants", i, "temperature"), "wrong-engine", text, "remove it, and let the graph do it")


def check_cascade(document: Document, cascade: Cascade, parts: Parts) -> None:
    """Note what contradicts itself in `[cascade]`."""
    if parts.task not in ("", "classify"):
        document.fault(("cascade",), "wrong-task", f"is for task `classify`, and the task is `{parts.task}`", _MEND_TASK)
    names = {variant.name for variant in parts.variants.values()}
    own = document.values.get("name")
    seen: set[str] = set()
    for i, stage in enumerate(cascade.stages):
        place = ("cascade", "stages", i, "use")
        if stage.use in seen:
            document.fault(place, "duplicate", f"`{stage.use}` is asked twice", "a stage that was not sure will not be the second time")
        elif stage.use == own and stage.use not in names:
            document.fault(place, "unknown-stage", f"`{own}` is this model itself", "name one of its variants, or another model")
        seen.add(stage.use)
    if not seen & names and names:
        text = "asks no variant of this release, so none of its files would be of use"
        document.fault(("cascade", "stages"), "unknown-stage", text, f"name one of: {', '.join(sorted(names))}")
