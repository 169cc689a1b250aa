"""Put a stored release on trial: what to ask of it, and within which limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edged.clock import Clock
from edged.errors import BoardError, PublisherError
from edged.fleet.trial import Limits, Measured, Predicted, TrialRequest, run_trial
from edged.models.manifest import MANIFEST, Release
from edged.select.terms import Option
from edged.service.footprint import check_available, spare_mib, trial_mib

_CHILD_MIB = 60.0  # Python, numpy and a runtime


def try_release(
    release: Release,
    options: Sequence[Option],
    *,
    deadline_ms: float | None,
    running: Measured | None,
    clock: Clock,
    cancelled: Callable[[], bool],
    root: Path = Path("/"),
) -> dict[str, Any]:
    """Give the report of a release that may serve, see `fleet.trial.TrialReport`; its variants are tried in the order of `options`.

    What release.json claims of its costs may be a lie: a trial never gets more memory than the board can spare.
    Raises what `run_trial` raises, BoardError(`memory-short`), and BoardError(`trial-memory`) where it was the board that had too little.
    """
    manifest = release.manifest
    predicted = max(each.predicted_mib for each in options)
    check_available(f"the trial of {manifest.name} {manifest.release}", _CHILD_MIB + predicted, root)
    goldens = max((release.path_of_file(each.golden.file).stat().st_size for each in release.here if each.golden), default=0)
    request = TrialRequest(
        name=manifest.name,
        release=manifest.release,
        manifest=str(release.folder / MANIFEST),
        files={name: str(path) for name, path in release.files.items() if name != MANIFEST},
        variants=[each.variant for each in options],
        deadline_ms=deadline_ms,
        predicted={each.variant: Predicted(each.predicted_ms, each.predicted_mib) for each in options},
        running=running,
        text=manifest.input.kind == "text",
        speedups={each.variant: each.speedup for each in options},
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
