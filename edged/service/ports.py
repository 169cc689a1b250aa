"""The control path's ports: to the pipelines of a running daemon, or to none, for a command that works alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edged import __version__
from edged.clock import Clock
from edged.config import schema
from edged.config.load import Loaded
from edged.engines.choose import available, text_builds
from edged.errors import BoardError
from edged.fleet.confirm import Watched
from edged.fleet.trial import Measured
from edged.models.book import read_ledger
from edged.models.manifest import Release
from edged.models.packed import Packed
from edged.models.store import Store
from edged.select.fetching import worth_fetching
from edged.select.stages import brought
from edged.select.terms import Option
from edged.service.rehearsal import rehearse
from edged.service.selection import Selection
from edged.service.serving import Serving
from edged.service.trials import try_release
from edged.stream.channels import check_channels

Cancelled = Callable[[], bool]

NO_DEADLINE_MS = 1e9
_INSTALL = {"tflite": "pip install ai-edge-litert", "llama": "pip install 'edged[text]'"}  # by engine


class LonePorts:
    """A board on which no daemon runs; see `fleet.ports.Ports`."""

    def __init__(self, store: Store, clock: Clock, selection: Selection) -> None:
        self._store = store
        self._clock = clock
        self._selection = selection

    def inputs(self) -> str:
        """Name engine builds, what the board has, and our own version."""
        return "\n".join([__version__, self._selection.basis, *map(str, [*available(), *text_builds()])])

    def wants(self, model: str) -> bool:
        """Say no."""
        return False

    def look(self) -> None:
        """Do nothing: there is nothing else to see to."""

    def fitting(self, release: Release, packed: Packed) -> list[str]:
        """Name the variants that are worth fetching, see `worth_fetching`, the chosen one first, and the stages that they bring.

        Only those are, whose files are among the release's, whose engine runs here, and that keep deadline, processor, memory
        and quality. Raises BoardError(`engine-missing`) or DoesNotFit(`does-not-fit`).
        """
        manifest = release.manifest
        engines = {each.engine for each in manifest.variants}
        if not engines & {build.engine for build in (*available(), *text_builds())}:
            hint = " or ".join(_INSTALL[engine] for engine in sorted(engines))
            raise BoardError("engine-missing", f"nothing here runs {manifest.name} {manifest.release}: no runtime is installed", hint)
        sizes = {each.name: packed.files[each.file].size for each in manifest.variants}
        fitting = [each.variant for each in self._fitting(release, packed)]
        return brought(release, worth_fetching(fitting, sizes), fitting)

    def watched(self, model: str) -> Watched:
        """Give nothing."""
        return Watched()

    def trial(self, release: Release, cancelled: Cancelled) -> dict[str, Any]:
        """Run it in a child process."""
        return self._try(release, None, None, cancelled)

    def shadow(self, release: Release, windows: int, progress: Callable[[int], None], cancelled: Cancelled) -> dict[str, Any]:
        """Never asked: there are no live windows."""
        raise NotImplementedError

    def serve(self, model: str, release: Release | None, cancelled: Cancelled) -> dict[str, Any]:
        """Do nothing: the next start of the daemon loads what is active."""
        return {}

    def rehearse(self, cancelled: Cancelled) -> None:
        """Never asked: nothing is confirmed without a daemon."""
        raise NotImplementedError

    def _pipelines(self, model: str) -> list[schema.Pipeline]:
        """Give what would run a model: nothing that is known, so it is looked at alone and without a deadline."""
        source, decoder = schema.StdinSource(), schema.JsonDecoder(channels=["value"])
        return [schema.Pipeline(name=model, source=source, decoder=decoder, model=model, deadline_ms=NO_DEADLINE_MS)]

    def _fitting(self, release: Release, packed: Packed) -> list[Option]:
        """Give the options of a candidate that may be tried here, the chosen one first. Raises DoesNotFit(`does-not-fit`)."""
        return self._selection.fitting([(each, release, packed.costs) for each in self._pipelines(release.manifest.name)])

    def _try(self, release: Release, deadline_ms: float | None, running: Measured | None, cancelled: Cancelled) -> dict[str, Any]:
        packed = self._store.packed(release.manifest.name, release.manifest.release)
        options = self._fitting(release, packed)
        report = try_release(release, options, deadline_ms=deadline_ms, running=running, clock=self._clock, cancelled=cancelled)
        self._selection.tried(release, report, self._clock.wall())
        return report


class DaemonPorts(LonePorts):
    """A daemon's pipelines. `bind` comes after recovery and before any work."""

    def __init__(self, store: Store, clock: Clock, selection: Selection, loaded: Loaded) -> None:
        super().__init__(store, clock, selection)
        self._loaded = loaded
        self._serving: Serving | None = None
        self._look: Callable[[], None] = lambda: None

    def bind(self, serving: Serving, look: Callable[[], None]) -> None:
        """Work with these pipelines from here on. `look` sees to what else the thread does, where it is held up for long."""
        self._serving, self._look = serving, look

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

    def look(self) -> None:
        """See to the board, and to what else the thread does."""
        self._look()

    def fitting(self, release: Release, packed: Packed) -> list[str]:
        """Raise also OperatorError (`channels-do-not-match`, `decoder-does-not-fit`)."""
        for lane in self.serving.lanes(release.manifest.name):
            check_channels(lane.options, release.manifest)
        return super().fitting(release, packed)

    def watched(self, model: str) -> Watched:
        """Sum up the model's pipelines."""
        return self.serving.watched(model)

    def trial(self, release: Release, cancelled: Cancelled) -> dict[str, Any]:
        """Run it in a child process, against its pipelines' deadline and the release that serves."""
        name = release.manifest.name
        return self._try(release, self.serving.deadline_ms(name), self.serving.measured(name), cancelled)

    def shadow(self, release: Release, windows: int, progress: Callable[[int], None], cancelled: Cancelled) -> dict[str, Any]:
        """Let it see the live windows of the model's first pipeline."""

        def ends() -> bool:
            over = cancelled()
            if not over:
                self.look()  # readings may take days
            return over

        variant, need_mib = self._tried(release)
        return self.serving.shadow(release, variant, windows, need_mib, progress, ends)

    def serve(self, model: str, release: Release | None, cancelled: Cancelled) -> dict[str, Any]:
        """Bring the model's pipelines to a release, or to a stop."""
        if release is None:
            self.serving.stop(model, cancelled)
            return {}
        variant, need_mib = self._tried(release)
        return self.serving.serve(model, release, need_mib, cancelled, variant)

    def _pipelines(self, model: str) -> list[schema.Pipeline]:
        """Give those that run the model, the one with the shortest deadline first; else as without a daemon."""
        lanes = sorted(self.serving.lanes(model), key=lambda lane: lane.options.deadline_ms)
        return [lane.options for lane in lanes] or super()._pipelines(model)

    def _tried(self, release: Release) -> tuple[str, float]:
        """Give the variant that the trial ran, empty where there was none, and the MiB that it takes, or the largest that is here."""
        name, number = release.manifest.name, release.manifest.release
        variant = str(read_ledger(self._loaded.state_dir).of(name).reports.get(number, {}).get("variant", ""))
        here = {each.name for each in release.here}
        options = [each for each in self._selection.options(self._pipelines(name)[0], release) if each.variant in here]
        of_it = [each.mib for each in options if each.variant == variant]
        return (variant, of_it[0]) if of_it else ("", max((each.mib for each in options), default=0.0))

    def rehearse(self, cancelled: Cancelled) -> None:
        """Start a daemon in a child process, up to its first reading."""
        rehearse(self._loaded, self.serving.running(), cancelled, self.serving.runners_mib())
