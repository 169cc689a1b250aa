"""The control path's ports: to the pipelines of a running daemon, or to none, for a command that works alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edged import __version__
from edged.clock import Clock
from edged.config.load import Loaded
from edged.engines.choose import available
from edged.errors import BoardError
from edged.fleet.confirm import Watched
from edged.models.book import read_ledger
from edged.models.manifest import Manifest, Release
from edged.models.packed import Packed
from edged.models.store import Store
from edged.service.footprint import check_fits, tried_mib
from edged.service.parts import Parts
from edged.service.rehearsal import rehearse
from edged.service.serving import Serving
from edged.service.trials import try_release
from edged.stream.channels import check_channels

Cancelled = Callable[[], bool]


class LonePorts:
    """A board on which no daemon runs; see `fleet.ports.Ports`."""

    def __init__(self, store: Store, clock: Clock, profile: str = "auto", budget_mib: int = 0) -> None:
        self._store = store
        self._clock = clock
        self._profile = profile
        self._budget_mib = budget_mib

    def inputs(self) -> str:
        """Name engine builds, profile, budget, and our own version."""
        return "\n".join([__version__, self._profile, str(self._budget_mib), *map(str, available())])

    def wants(self, model: str) -> bool:
        """Say no."""
        return False

    def check(self, manifest: Manifest, packed: Packed) -> None:
        """Raise BoardError(`engine-missing`) or DoesNotFit(`does-not-fit`)."""
        if not available():
            hint = "pip install ai-edge-litert"
            raise BoardError("engine-missing", f"nothing here runs {manifest.name} {manifest.release}: no runtime is installed", hint)
        check_fits(packed, self._budget_mib)

    def watched(self, model: str) -> Watched:
        """Give nothing."""
        return Watched()

    def trial(self, release: Release, cancelled: Cancelled) -> dict[str, Any]:
        """Run it in a child process."""
        packed = self._store.packed(release.manifest.name, release.manifest.release)
        return try_release(release, packed, deadline_ms=None, running=None, clock=self._clock, cancelled=cancelled)

    def shadow(self, release: Release, windows: int, progress: Callable[[int], None], cancelled: Cancelled) -> dict[str, Any]:
        """Never asked: there are no live windows."""
        raise NotImplementedError

    def serve(self, model: str, release: Release | None, cancelled: Cancelled) -> dict[str, Any]:
        """Do nothing: the next start of the daemon loads what is active."""
        return {}

    def rehearse(self, cancelled: Cancelled) -> None:
        """Never asked: nothing is confirmed without a daemon."""
        raise NotImplementedError


class DaemonPorts(LonePorts):
    """A daemon's pipelines. `bind` comes after recovery and before any work."""

    def __init__(self, store: Store, clock: Clock, loaded: Loaded) -> None:
        device = loaded.config.device
        super().__init__(store, clock, device.profile, device.memory_budget_mib)
        self._loaded = loaded
        self._serving: Serving | None = None

    def bind(self, parts: Parts) -> None:
        """Work with these pipelines from here on."""
        self._serving = Serving(parts, self._budget_mib)

    @property
    def serving(self) -> Serving:
        """Give what brings pipelines from one release to another."""
        assert self._serving is not None
        return self._serving

    def wants(self, model: str) -> bool:
        """Say whether a pipeline names the model."""
        return bool(self.serving.lanes(model))

    def inputs(self) -> str:
        """Name also what pipelines give their models, and how long they wait: what did not fit may fit after a change there."""
        lanes = [each for each in self._loaded.config.pipelines if not each.model_dir]
        return "\n".join([super().inputs(), *(f"{each.model} {each.deadline_ms} {each.decoder}" for each in lanes)])

    def check(self, manifest: Manifest, packed: Packed) -> None:
        """Raise also OperatorError(`channels-do-not-match`), PublisherError(`text-model`)."""
        super().check(manifest, packed)
        for lane in self.serving.lanes(manifest.name):
            check_channels(lane.options, manifest)

    def watched(self, model: str) -> Watched:
        """Sum up the model's pipelines."""
        return self.serving.watched(model)

    def trial(self, release: Release, cancelled: Cancelled) -> dict[str, Any]:
        """Run it in a child process, against its pipelines' deadline and the release that serves."""
        name = release.manifest.name
        packed = self._store.packed(name, release.manifest.release)
        deadline, running = self.serving.deadline_ms(name), self.serving.measured(name)
        return try_release(release, packed, deadline_ms=deadline, running=running, clock=self._clock, cancelled=cancelled)

    def shadow(self, release: Release, windows: int, progress: Callable[[int], None], cancelled: Cancelled) -> dict[str, Any]:
        """Let it see the live windows of the model's first pipeline."""
        return self.serving.shadow(release, windows, self._need_mib(release), progress, cancelled)

    def serve(self, model: str, release: Release | None, cancelled: Cancelled) -> dict[str, Any]:
        """Bring the model's pipelines to a release, or to a stop."""
        if release is None:
            self.serving.stop(model, cancelled)
            return {}
        return self.serving.serve(model, release, self._need_mib(release), cancelled)

    def _need_mib(self, release: Release) -> float:
        name, number = release.manifest.name, release.manifest.release
        report = read_ledger(self._loaded.state_dir).of(name).reports.get(number, {})
        return tried_mib(self._store.packed(name, number), report)

    def rehearse(self, cancelled: Cancelled) -> None:
        """Start a daemon in a child process, up to its first reading."""
        rehearse(self._loaded, self.serving.running(), cancelled)
