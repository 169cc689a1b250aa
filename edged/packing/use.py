"""What a release for texts asks of an engine: its keys, as engines take them."""

from __future__ import annotations

from typing import cast, get_args

import msgspec

from edged.engines.text import Prompt, TextTask, TextUse
from edged.errors import PublisherError
from edged.models.manifest import Release, Variant


def text_use(release: Release, variant: Variant) -> TextUse:
    """Say what a variant does with texts, for the engine that is to load it.

    Raises PublisherError(`task-unsupported`) for a task that is none of texts, BugError where the head's file is not here.
    """
    manifest = release.manifest
    if manifest.task not in get_args(TextTask):
        raise PublisherError("task-unsupported", f"task `{manifest.task}` takes no texts", "mend `task` or `input.kind` of model.toml")
    given, output = manifest.input, manifest.output
    return TextUse(
        task=cast(TextTask, manifest.task),
        prompt=Prompt(given.template, given.system, tuple((each.text, each.answer) for each in given.examples), given.chat),
        labels=tuple(output.labels),
        head=release.path_of_file(variant.head) if variant.head else None,
        schema=msgspec.json.encode(output.schema) if manifest.task == "extract" else b"",
        max_tokens=output.max_tokens,
        stop=tuple(output.stop),
        temperature=output.temperature,
        max_chars=given.max_chars,
        context=variant.context,
    )
