"""What a release for texts asks of an engine: its keys, as engines take them."""

from __future__ import annotations

import msgspec

from edged.engines.text import Prompt, TextTask, TextUse
from edged.models.manifest import Release, Variant


def text_use(release: Release, variant: Variant) -> TextUse:
    """Say what a variant of a release for texts does with them."""
    task, given, output = release.manifest.task, release.manifest.input, release.manifest.output
    return TextUse(
        task=msgspec.convert(task, TextTask),
        prompt=Prompt(given.template, given.system, tuple((each.text, each.answer) for each in given.examples), given.chat),
        labels=tuple(output.labels),
        head=release.path_of_file(variant.head) if variant.head else None,
        schema=msgspec.json.encode(output.schema) if output.schema else b"",
        max_tokens=output.max_tokens,
        stop=tuple(output.stop),
        temperature=output.temperature,
        max_chars=given.max_chars,
        context=variant.context,
    )
