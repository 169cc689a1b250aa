"""Put a stored release on trial: what to ask of it, and within which limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edged.clock import Clock
from edged.errors import BoardError, PublisherError
from edged.fleet.trial import Limits, Measured, TrialRequest, run_trial
from edged.models.manifest import MANIFEST, Release
from edged.models.packed import Packed
from edged.service.footprint import check_available, predicted_mib, spare_mib, trial_mib
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

    What release.json claims of its costs may be a lie: a trial never gets more memory than the board can spare.
    Raises what `run_trial` raises, PublisherError(`quality-too-low`), BoardError(`memory-short`), and
    BoardError(`trial-memory`) where it was the board that had too little.
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
    wanted, spare = trial_mib(predicted, goldens), spare_mib(root)
    limit = wanted if spare is None else min(wanted, spare)
    try:
        report = run_trial(request, Limits(limit), cancelled, clock)
    except PublisherError as error:
        if error.code != "trial-memory" or limit == wanted:
            raise
        text = f"{error.text}, which is all that this board can spare now"
        raise BoardError(error.code, text, "free memory on this board, then install the release again") from error
    return dict(msgspec.to_builtins(report))
