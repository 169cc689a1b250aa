"""The release folder that classifiers are fitted into: what it says already, and what is written into it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edged.atomic import write_atomic
from edged.engines.text import TextUse
from edged.errors import OperatorError, ReleaseFaults
from edged.fitting.learners import Floats
from edged.fitting.manifest_edit import Table, add_table, edit_manifest, inline_table
from edged.fitting.measure import Fit
from edged.models.manifest import MANIFEST, Manifest, Release, Variant, parse_manifest, read_manifest
from edged.packing.use import text_use

_METRIC = "accuracy"


@dataclass(frozen=True)
class Target:
    """A release folder. `manifest` is None where there is none yet; `labels` are in its order."""

    folder: Path
    manifest: Manifest | None
    labels: list[str]

    @property
    def bases(self) -> list[Variant]:
        """Give the variants of engine llama that heads are fitted on: each file once for each name of a head."""
        llamas = [variant for variant in self.manifest.variants if variant.engine == "llama"] if self.manifest else []
        plain = [variant for variant in llamas if not variant.head]
        made = {f"{variant.name}-head" for variant in plain}
        return [*plain, *(variant for variant in llamas if variant.head and variant.name not in made)]

    def embed_use(self, base: Variant) -> TextUse:
        """Say how a language model is to embed texts, with the prompt of the release."""
        assert self.manifest is not None
        release = Release(self.manifest, self.folder, "", {})
        return replace(text_use(release, msgspec.structs.replace(base, head="")), task="embed")

    @property
    def name(self) -> str:
        """Give the model's name: that of the folder, made to fit, where there is none yet."""
        if self.manifest:
            return self.manifest.name
        return re.sub(r"[^a-z0-9_-]+", "-", self.folder.resolve().name.lower()).lstrip("-_")[:64] or "texts"


def read_target(folder: Path, labels: Sequence[str]) -> Target:
    """Read what is there. `labels` are those of the data.

    Raises ReleaseFaults, PublisherError as `read_manifest`, and OperatorError: `release-not-for-this` for a release of another
    task or metric, or with a variant `words` of another engine; `labels-differ` where the release has other labels than the data.
    """
    path = folder / MANIFEST
    if not path.exists():
        return Target(folder, None, sorted(labels))
    document, manifest = parse_manifest(read_manifest(path), str(path))
    if document.faults or manifest is None:
        raise ReleaseFaults(sorted(document.faults, key=lambda fault: fault.line), str(path))
    if (manifest.task, manifest.input.kind) != ("classify", "text"):
        text = f"{path} is for task `{manifest.task}` on kind `{manifest.input.kind}`, and classifiers of texts are fitted"
        raise _not_for_this(text, "take another folder")
    if manifest.quality and manifest.quality.metric != _METRIC:
        text = f"{path} counts `{manifest.quality.metric}` as quality, and here accuracy is measured"
        raise _not_for_this(text, 'write `metric = "accuracy"` in [quality], or take another folder')
    if any(variant.name == "words" and variant.engine != "linear" for variant in manifest.variants):
        raise _not_for_this(f"{path} has a variant `words` of another engine than linear", "give that variant another name")
    if set(manifest.output.labels) != set(labels):
        lacks = sorted(set(labels) - set(manifest.output.labels))
        more = sorted(set(manifest.output.labels) - set(labels))
        differ = [f"{word} {', '.join(f'`{each}`' for each in some[:5])}" for word, some in (("it lacks", lacks), ("it has", more)) if some]
        hint = "mend `labels` in [output], or leave out of the data what is not to be learnt"
        raise OperatorError("labels-differ", f"the labels of {path} are not those of the data: {' and '.join(differ)}", hint)
    return Target(folder, manifest, manifest.output.labels)


def write_into(
    target: Target, fits: Sequence[Fit], golden: Sequence[tuple[list[str], Floats]], dataset: str, provenance: dict[str, Any]
) -> None:
    """Write each fit's golden texts and what they come to, then the manifest; the fits' own files are there already.

    Errors as `edit_manifest`.
    """
    for fit, (texts, outputs) in zip(fits, golden):
        save(target.folder / _golden_name(fit), texts=np.array(texts, np.str_), outputs=outputs)

    def change(document: Table) -> None:
        document["output"]["labels"] = target.labels if target.manifest is None else document["output"]["labels"]
        quality = document.setdefault("quality", {})
        quality["metric"], quality["dataset"] = _METRIC, dataset
        for fit in fits:
            _put_variant(document, fit)
        document.setdefault("provenance", {}).setdefault("fit", {}).update(provenance)

    edit_manifest(target.folder, change, _begin(target.name))


def save(path: Path, **arrays: Any) -> int:
    """Write an .npz durably; give its size. OperatorError(`cannot-write`) where that fails."""
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise OperatorError("cannot-write", f"{path} cannot be written: {error.strerror}", "check the folder's owner and mode") from None
    return buffer.tell()


def _put_variant(document: Table, fit: Fit) -> None:
    """Add a variant, or set what was fitted in the one of its name; its other keys stay."""
    variant = fit.learner.variant
    values: dict[str, Any] = {"name": variant.name, "engine": variant.engine, "file": variant.file}
    values |= {"head": variant.head} if variant.head else {}
    values |= {"context": variant.context} if variant.context else {}
    values["quality"] = round(fit.measured.accuracy, 4)
    values["temperature"] = fit.measured.temperature
    values["golden"] = inline_table({"file": _golden_name(fit), **fit.learner.closest})
    listed = document.get("variants")
    if listed is None:
        document["variants"] = [values]
        return
    for table in listed:
        if table["name"] == variant.name:
            table.update(values)
            return
    add_table(listed, values)


def _golden_name(fit: Fit) -> str:
    return f"golden-{fit.learner.variant.name}.npz"


def _begin(name: str) -> str:
    """Give the `model.toml` of a new release, before labels and variants are put in."""
    return f"""\
name = "{name}"
version = "1"
release = 1
task = "classify"

[provenance.fit]

[quality]

[input]
kind = "text"

[output]
labels = []
"""


def _not_for_this(text: str, hint: str) -> OperatorError:
    return OperatorError("release-not-for-this", text, hint)
