"""Open a release of the store with the runtime that its trial ran: what that found out needs no second child process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edged.engines.choose import RUNTIMES, TEXT_RUNTIMES, available, text_builds
from edged.models.book import read_ledger
from edged.models.manifest import Release
from edged.stream.loading import OpenEngine


def opener(open_engine: OpenEngine, release: Release, state_dir: Path) -> OpenEngine:
    """Give what opens the variants of a stored release: where the build that the trial ran is gone, each runtime is probed again."""
    manifest = release.manifest
    tried = read_ledger(state_dir).of(manifest.name).reports.get(manifest.release, {}).get("engine")
    packages = {package: name for name, (package, _) in (*RUNTIMES.items(), *TEXT_RUNTIMES.items())}
    for build in (*available(), *text_builds()):
        if str(build) == tried and build.package in packages:
            return partial(open_engine, prefer=packages[build.package])
    return open_engine
