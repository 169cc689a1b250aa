"""Hold every variant of a release, and its cascade, to labelled rows: what is right, how sure it is, how fast, how large."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edged.engines.choose import open_engine
from edged.errors import EdgedError, PublisherError
from edged.fitting.bounds import interval
from edged.fitting.cascade import run_cascade
from edged.fitting.judging import CONFIDENCE, Classified, Scored, classified, scored, stage_answers
from edged.fitting.labelled import Labelled, naming
from edged.fitting.running import Ran, Say, run_variant
from edged.models.manifest import ABSENT, Release, Variant
from edged.models.schema import Manifest
from edged.stream.loading import OpenEngine


class CascadeFound(msgspec.Struct, frozen=True):
    """The release's cascade as it would run without its hourly budgets. `interval` is of the accuracy of what is accepted."""

    stages: list[str]
    accept: list[float]
    asked: list[int]
    taken: list[int]
    coverage: float
    accuracy: float | None
    interval: tuple[float, float]
    ms: float  # for one input, in the mean


class Evaluation(msgspec.Struct, frozen=True):
    """All that was found; `failed` says why variants do not run here, `notes` what is odd about the data."""

    model: str
    version: str
    release: int
    data: str
    rows: int
    left_out: dict[str, int]
    notes: list[str]
    baseline: str  # the most frequent label
    baseline_accuracy: float
    minimum: float | None
    variants: list[Classified | Scored]
    failed: dict[str, str]
    cascade: CascadeFound | None
    smallest: str  # variant that meets the minimum; empty: none does, or there is no minimum that was measured here


def evaluate(release: Release, data: Labelled, names: Sequence[str], say: Say, opener: OpenEngine = open_engine) -> Evaluation:
    """Run the variants called `names`, by default all, over the rows; what does not run here is noted and not raised.

    Raises PublisherError(`no-such-variant`).
    """
    manifest = release.manifest
    wanted = [release.variant(name) for name in names] if names else manifest.variants
    ran: dict[str, Ran] = {}
    failed: dict[str, str] = {}
    for variant in wanted:
        done = _run(release, variant, data, say, opener)
        if isinstance(done, Ran):
            ran[variant.name] = done
        else:
            failed[variant.name] = done.text
    counts = np.bincount(data.truth)
    baseline = manifest.output.labels[int(counts.argmax())] if manifest.task == "classify" else ""
    judge = classified if manifest.task == "classify" else scored
    found = [judge(release, variant, ran[variant.name], data) for variant in wanted if variant.name in ran]
    cascade, notes = _cascade(manifest, ran, data)
    notes += naming("[cascade.fitted]", manifest.cascade.fitted, data.file) if manifest.cascade else []
    minimum = manifest.quality.minimum if manifest.quality else None
    return Evaluation(
        manifest.name, manifest.version, manifest.release, data.file, len(data), data.left_out,
        [*data.notes, *notes, *_unjudged(manifest)],
        baseline, float(counts.max() / len(data)), minimum, found, failed, cascade, _smallest(manifest, found),
    )  # fmt: skip


def _run(release: Release, variant: Variant, data: Labelled, say: Say, opener: OpenEngine) -> Ran | EdgedError:
    if not release.has(variant):
        return PublisherError("not-here", ABSENT)
    try:
        return run_variant(release, variant, data.inputs, opener, say)
    except EdgedError as error:
        return error


def _cascade(manifest: Manifest, ran: dict[str, Ran], data: Labelled) -> tuple[CascadeFound | None, list[str]]:
    """Run the release's cascade over what its stages answered; None with a note where that cannot be."""
    cascade = manifest.cascade
    if cascade is None:
        return None, []
    stages = {variant.name: variant for variant in manifest.variants}
    missing = [stage.use for stage in cascade.stages if stage.use not in ran]
    if missing:
        return None, [f"the cascade is not judged: {', '.join(missing)} did not run here"]
    answers = [
        stage_answers(stages[stage.use], manifest.input.kind, ran[stage.use].scores, data.truth, stages[stage.use].temperature)
        for stage in cascade.stages
    ]
    done = run_cascade(answers, [stage.accept for stage in cascade.stages])
    bounds = interval(done.right, done.accepted, CONFIDENCE)
    ms = sum(asked * ran[stage.use].p50_ms for asked, stage in zip(done.asked, cascade.stages)) / len(data)
    limited = [stage.use for stage in cascade.stages if stage.per_hour]
    notes = [f"the hourly budgets of the cascade ({', '.join(limited)}) are not counted here"] if limited else []
    names, accept = [stage.use for stage in cascade.stages], [stage.accept for stage in cascade.stages]
    return CascadeFound(names, accept, list(done.asked), list(done.taken), done.coverage, done.accuracy, bounds, ms), notes


def _smallest(manifest: Manifest, found: Sequence[Classified | Scored]) -> str:
    """Give the variant of the smallest files whose measured quality meets the minimum."""
    quality = manifest.quality
    if quality is None or quality.minimum is None or _unjudged(manifest):
        return ""
    minimum = quality.minimum
    good = [each for each in found if (_quality(each) or 0.0) >= minimum]
    return min(good, key=lambda each: each.cost.bytes).variant if good else ""


def _quality(found: Classified | Scored) -> float | None:
    return found.accuracy if isinstance(found, Classified) else found.auc


def _unjudged(manifest: Manifest) -> list[str]:
    """Say where the release's minimum is of something that is not measured here."""
    quality, measured = manifest.quality, "accuracy" if manifest.task == "classify" else "auc"
    if quality is None or quality.minimum is None or quality.metric.lower() == measured:
        return []
    return [f"[quality] minimum is of `{quality.metric}`, and `{measured}` was measured: which variant meets it is not known"]
