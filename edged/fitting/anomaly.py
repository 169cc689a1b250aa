"""Fit the threshold of a release for anomaly: run its variants over clean data, and write what keeps false alarms rare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edged.config import schema
from edged.engines.choose import open_engine
from edged.errors import OperatorError, ReleaseFaults
from edged.fitting.clean import Clean, clean_scores
from edged.fitting.manifest_edit import Table, edit_manifest
from edged.fitting.running import Say
from edged.fitting.threshold import Threshold, fit_threshold
from edged.models.manifest import ABSENT, Release, examine
from edged.stream.loading import OpenEngine


class VariantThreshold(msgspec.Struct, frozen=True):
    """One variant: the threshold that it would have alone, and its clean scores."""

    variant: str
    threshold: float
    beyond: int
    windows: int
    median: float
    extreme: float  # the clean score that is furthest towards anomalies
    left_out: dict[str, int]


class ThresholdFit(msgspec.Struct, frozen=True):
    """What was found. `most` is the rate of false alarms that is kept: `rate`, or more where there were too few windows."""

    threshold: float
    anomalous: str
    rate: float
    confidence: float
    reached: bool
    most: float
    needed: int
    data: list[str]
    variants: list[VariantThreshold]
    notes: list[str]


def load_unfitted(folder: Path) -> Release:
    """Read a release folder for anomaly, which need not have a threshold yet; errors as `load_release`, OperatorError(`not-anomaly`)."""
    examined = examine(folder)
    missing = [fault for fault in examined.document.faults if (fault.key, fault.code) == ("output.threshold", "missing-key")]
    others = [fault for fault in examined.document.faults if fault not in missing]
    if others or examined.manifest is None:
        raise ReleaseFaults(sorted(others, key=lambda fault: fault.line), examined.document.file)
    manifest = examined.manifest
    if manifest.task != "anomaly" or manifest.input.kind != "window":
        text = f"the task of {manifest.name} is `{manifest.task}` on a {manifest.input.kind}"
        raise OperatorError("not-anomaly", text, "thresholds are for anomaly on windows; for classify there is `edged fit cascade`")
    if missing:
        manifest = msgspec.structs.replace(manifest, output=msgspec.structs.replace(manifest.output, threshold=0.0))
    return Release(manifest, folder, examined.digest, examined.files)


def fit_release(
    release: Release,
    names: Sequence[str],
    paths: Sequence[Path],
    options: Sequence[schema.Pipeline],
    rate: float,
    confidence: float,
    say: Say,
    opener: OpenEngine = open_engine,
) -> ThresholdFit:
    """Find the threshold that keeps the rate of false alarms for each of the variants, by default all; see `clean_scores`.

    Raises OperatorError(`data-no-rows`), PublisherError(`no-such-variant`), and what running a variant raises.
    """
    anomalous = release.manifest.output.anomalous
    variants = [release.variant(name) for name in names] if names else release.manifest.variants
    found: list[VariantThreshold] = []
    fits: list[Threshold] = []
    for variant in variants:
        if not release.has(variant):
            raise OperatorError("variant-absent", f"variant {variant.name} is {ABSENT}", "name others with --variants")
        clean = clean_scores(release, variant, paths, options, opener, say)
        if not len(clean.scores):
            why = "; ".join(f"{count:,} {reason}" for reason, count in clean.left_out.items()) or "they are shorter than one"
            raise OperatorError("data-no-rows", f"the data gives no window: {why}", "take longer recordings, or mend them")
        fits.append(fit_threshold(clean.scores, rate, confidence, anomalous))
        found.append(_of(variant.name, fits[-1], clean, anomalous))
    furthest = max(fits, key=lambda each: each.value if anomalous == "above" else -each.value)
    least = min(fits, key=lambda each: each.windows)
    reached = least.windows >= least.needed
    return ThresholdFit(
        furthest.value, anomalous, rate, confidence, reached, max(each.most for each in fits), furthest.needed,
        [path.name for path in paths], found, [*_notes(release)],
    )  # fmt: skip


def write_threshold(folder: Path, fit: ThresholdFit) -> None:
    """Write the threshold into `model.toml`, and into [provenance] how it was found. Errors as `edit_manifest`."""
    windows = min(each.windows for each in fit.variants)
    origin = (
        f"edged fit threshold: with {fit.confidence * 100:.4g} % confidence at most {fit.most * 100:.4g} % of clean windows are beyond it; "
        f"{windows:,} windows of {', '.join(fit.data)}"
    )

    def change(document: Table) -> None:
        document["output"]["threshold"] = fit.threshold
        document.setdefault("provenance", {})["threshold"] = origin

    edit_manifest(folder, change)


def _of(name: str, fit: Threshold, clean: Clean, anomalous: str) -> VariantThreshold:
    extreme = clean.scores.max() if anomalous == "above" else clean.scores.min()
    return VariantThreshold(name, fit.value, fit.beyond, fit.windows, float(np.median(clean.scores)), float(extreme), clean.left_out)


def _notes(release: Release) -> list[str]:
    given, output = release.manifest.input, release.manifest.output
    notes = []
    if 0 < given.hop < given.samples:
        share = 1 - given.hop / given.samples
        notes.append(f"neighbouring windows share {share:.0%} of their readings: the bound takes windows for independent")
    if output.alarm:
        alarm = output.alarm
        notes.append(f"[output.alarm] goes on at {alarm.on:g} and off at {alarm.off:g}, as before: hold them against the new threshold")
    return notes
