"""Fit a release's cascade: run its stages over labelled rows, find temperatures and thresholds, write them into the release."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.engines.choose import open_engine
from edged.errors import OperatorError
from edged.fitting import metrics
from edged.fitting.cascade import Fitted, StageAnswers, fit_cascade
from edged.fitting.curve import Point, curve_alone, curve_of, point_of
from edged.fitting.judging import log_odds, stage_answers
from edged.fitting.labelled import Labelled
from edged.fitting.manifest_edit import Table, edit_manifest, inline
from edged.fitting.running import Ran, Say, run_variant
from edged.fitting.split import same_words
from edged.models.manifest import Release, Variant
from edged.stream.loading import OpenEngine


class StageFit(msgspec.Struct, frozen=True):
    """One stage: what was fitted, and what it came to on the second half. `ece` are calibration errors over all of its rows."""

    use: str
    temperature: float
    accept: float
    asked: int
    taken: int
    accuracy: float  # over all rows of the second half, asked alone
    ece_before: float
    ece: float
    p50_ms: float
    alone: list[Point]


class CascadeFit(msgspec.Struct, frozen=True):
    """All that was found. `chosen` accepts nothing where the target was not reached; then `needed` says how many rows might do."""

    target: float
    confidence: float
    reached: bool
    needed: int | None
    data: str
    first_rows: int
    second_rows: int
    stages: list[StageFit]
    chosen: Point
    curve: list[Point]
    ms: float  # for one input, in the mean
    left_out: dict[str, int]
    notes: list[str]


def fit_stages(
    release: Release, data: Labelled, names: Sequence[str], target: float, confidence: float, say: Say, opener: OpenEngine = open_engine
) -> CascadeFit:
    """Fit the stages called `names`: variants, in the order they are asked.

    By default they are those of the release's cascade, or where it has none, all variants, the fastest first.
    Raises PublisherError(`no-such-variant`), OperatorError(`not-classify`), and what running a variant raises.
    """
    if release.manifest.task != "classify":
        text = f"the task of {release.manifest.name} is `{release.manifest.task}`"
        raise OperatorError("not-classify", text, "a cascade is for classify; for anomaly there is `edged fit threshold`")
    variants = _stages(release, names)
    ran = {each.name: run_variant(release, each, data.inputs, opener, say) for each in variants}
    if not names and release.manifest.cascade is None:
        variants = sorted(variants, key=lambda variant: ran[variant.name].p50_ms)
    first = first_half(data.inputs)
    kind, delta = release.manifest.input.kind, 1.0 - confidence
    warm = [_temperature(kind, ran[each.name], data.truth, first) for each in variants]
    answers = [stage_answers(each, kind, ran[each.name].scores, data.truth, t) for each, t in zip(variants, warm)]
    plain = [stage_answers(each, kind, ran[each.name].scores, data.truth, 1.0) for each in variants]
    later = [each.of(~first) for each in answers]
    found = fit_cascade([each.of(first) for each in answers], later, target, confidence)
    stages = [_stage(found, i, t, later[i], plain[i].of(~first), ran[each.name], delta) for i, (each, t) in enumerate(zip(variants, warm))]
    chosen = point_of(found.chosen, delta)
    ms = sum(asked * stage.p50_ms for asked, stage in zip(chosen.asked, stages)) / max(1, found.chosen.rows)
    return CascadeFit(
        target, confidence, found.reached, found.needed, data.file, int(first.sum()), int((~first).sum()), stages, chosen,
        curve_of(found.proposed, delta), ms, data.left_out, [*data.notes, *([] if names else _forgotten(release, variants))],
    )  # fmt: skip


def write_stages(folder: Path, fit: CascadeFit) -> None:
    """Write thresholds and temperatures into `model.toml`; budgets of stages that were there stay. Errors as `edit_manifest`."""
    facts = {
        "target": fit.target, "confidence": fit.confidence, "rows": fit.first_rows + fit.second_rows, "data": fit.data,
        "coverage": round(fit.chosen.coverage, 4), "accuracy": round(fit.chosen.accuracy, 4), "at_least": round(fit.chosen.at_least, 4),
    }  # fmt: skip

    def change(document: Table) -> None:
        cascade = document.setdefault("cascade", {})
        budgets = {stage["use"]: stage["per_hour"] for stage in cascade.get("stages", []) if "per_hour" in stage}
        own = [{"per_hour": budgets[stage.use]} if stage.use in budgets else {} for stage in fit.stages]
        cascade["stages"] = inline([{"use": stage.use, "accept": stage.accept} | budget for stage, budget in zip(fit.stages, own)])
        cascade["fitted"] = facts
        warm = {stage.use: stage.temperature for stage in fit.stages}
        for variant in document["variants"]:
            if variant["name"] in warm:
                variant["temperature"] = warm[variant["name"]]

    edit_manifest(folder, change)


def first_half(inputs: NDArray[Any]) -> NDArray[np.bool_]:
    """Part rows in two by a hash of the input, so that those with the same words stay together and the file's order says nothing."""
    data = (same_words(each).encode("utf-8", "surrogatepass") if isinstance(each, str) else each.tobytes() for each in inputs)
    return np.array([hashlib.blake2b(each, digest_size=1).digest()[0] & 1 for each in data], np.bool_)


def _stages(release: Release, names: Sequence[str]) -> list[Variant]:
    manifest = release.manifest
    if not names and manifest.cascade is not None:
        own = {variant.name for variant in manifest.variants}
        names = [stage.use for stage in manifest.cascade.stages]
        if other := [name for name in names if name not in own]:
            text = f"the cascade of {manifest.name} asks {', '.join(other)}, which is another model"
            raise OperatorError("stage-elsewhere", text, "name the variants of this release with --stages")
    if len(set(names)) < len(names):
        raise OperatorError("stage-twice", f"a stage is named twice: {', '.join(names)}", "name each once")
    return [release.variant(name) for name in names] if names else list(manifest.variants)


def _forgotten(release: Release, stages: Sequence[Variant]) -> list[str]:
    """Say which variants came after the release's cascade was made."""
    asked = {each.name for each in stages}
    others = [each.name for each in release.manifest.variants if each.name not in asked]
    text = f"{', '.join(others)} {'is no stage' if len(others) == 1 else 'are no stages'} of [cascade], so the board never asks"
    return [f"{text} {'it' if len(others) == 1 else 'them'}: name all stages with --stages"] if others else []


def _temperature(kind: str, ran: Ran, truth: NDArray[np.intp], first: NDArray[np.bool_]) -> float:
    """Fit on the first half; scores of windows have no temperature."""
    known = first & np.isfinite(ran.scores).all(axis=1)
    return metrics.fit_temperature(log_odds(ran.scores[known]), truth[known]) if kind == "text" else 1.0


def _stage(found: Fitted, i: int, temperature: float, later: StageAnswers, plain: StageAnswers, ran: Ran, delta: float) -> StageFit:
    return StageFit(
        later.name, temperature, found.chosen.accept[i], found.chosen.asked[i], found.chosen.taken[i],
        float(later.right.mean()) if len(later.right) else 0.0,
        metrics.calibration_error(plain.scores, plain.right), metrics.calibration_error(later.scores, later.right),
        ran.p50_ms, curve_alone(later, delta),
    )  # fmt: skip
