"""Put a stored release on trial: what to ask of it, and within which limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edged.clock import Clock
from edged.errors import PublisherError
from edged.fleet.trial import Limits, Measured, TrialRequest, run_trial
from edged.models.manifest import MANIFEST, Release
from edged.models.packed import Packed
from edged.service.footprint import check_available, predicted_mib, trial_mib
from edged.service.machine import ROOT
from edged.stream.loading import in_order

_CHILD_MIB = 60.0  # Python, numpy and a runtime


def try_release(
    release: Release,
    packed: Packed,
    *,
    deadline_ms: float | None,
    running: Measured | None,
    clock: Clock,
    cancelled: Callable[[], bool],
    root: Path = ROOT,
) -> dict[str, Any]:
    """Give the report of a release that may serve, see `fleet.trial.TrialReport`.

    Raises what `run_trial` raises, PublisherError(`quality-too-low`), BoardError(`memory-short`).
    """
    manifest = release.manifest
    variants = [variant.name for variant in in_order(release)]
    if not variants:
        raise PublisherError("quality-too-low", f"every variant of {manifest.name} is below its minimum quality", "ask its publisher")
    predicted = max((predicted_mib(packed.costs[name]) for name in variants if name in packed.costs), default=0.0)
    check_available(f"the trial of {manifest.name} {manifest.release}", _CHILD_MIB + predicted, root)
    goldens = max((release.path_of_file(each.golden.file).stat().st_size for each in manifest.variants if each.golden), default=0)
    request = TrialRequest(
        name=manifest.name,
        release=manifest.release,
        manifest=str(release.folder / MANIFEST),
        files={name: str(path) for name, path in release.files.items() if name != MANIFEST},
        variants=variants,
        deadline_ms=deadline_ms,
        predicted_mib=predicted,
        running=running,
    )
    report = run_trial(request, Limits(trial_mib(predicted, goldens)), cancelled, clock)
    return dict(msgspec.to_builtins(report))
