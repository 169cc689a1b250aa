"""Bring the pipelines of a model from one release to another, and say how they do since then.

The only place where the control path touches the data path. Both releases are in memory for the
time of the swap where the board has room for both; else there is a gap, in which messages wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from edged.clock import NS
from edged.errors import BoardError, Cancelled, DoesNotFit, EdgedError, OperatorError
from edged.fleet.confirm import Watched
from edged.fleet.trial import Measured
from edged.models.entries import Refusal
from edged.models.manifest import Release
from edged.service.baseline import Baseline, at_start, at_swap, part_late
from edged.service.footprint import check_available
from edged.service.lanes import begin, fill, find
from edged.service.parts import Lane, Parts, runners_mib
from edged.service.progress import is_stuck
from edged.service.shadowing import run_shadow
from edged.service.tried import opener
from edged.stream.change import Change
from edged.stream.channels import channels_of
from edged.stream.counters import Counters
from edged.stream.loaded import LoadedModel
from edged.stream.loading import OpenEngine, in_order, load_best
from edged.stream.pipeline import Pipeline

SWAP_LIMIT_S = 30.0  # for a worker to come to the end of its batch, or to load a model over a gap
_POLL_S = 0.1
_FEW = 20  # windows; a time over fewer says little

Running = list[tuple[Lane, Pipeline]]


class Serving:
    """The lanes of a daemon, by model."""

    def __init__(self, parts: Parts, budget_mib: int = 0) -> None:
        """`budget_mib` is what models may take, 0: what the board has."""
        self._parts = parts
        self._budget_mib = budget_mib
        now = parts.clock.mono()
        self._since = {lane.options.name: at_start(now) for lane in parts.lanes}

    def lanes(self, model: str) -> list[Lane]:
        """Give the lanes that run a model of the store."""
        return [lane for lane in self._parts.lanes if lane.options.model == model and not lane.options.model_dir]

    def running(self) -> dict[str, str]:
        """Give the variant of each pipeline that runs a model."""
        lanes = [(lane, lane.pipeline) for lane in self._parts.lanes if lane.pipeline and not (lane.pipeline.fault or lane.error)]
        return {lane.options.name: pipeline.inference.model.variant for lane, pipeline in lanes}

    def runners_mib(self) -> float:
        """Give the memory of the processes that models have of their own."""
        return runners_mib(self._parts)

    def deadline_ms(self, model: str) -> float | None:
        """Give the shortest deadline of a model's pipelines; None where it has none."""
        return min((lane.options.deadline_ms for lane in self.lanes(model)), default=None)

    def measured(self, model: str) -> Measured | None:
        """Say how long a window takes the release that serves; None where too few came lately."""
        for lane in self.lanes(model):
            recent = lane.pipeline.counters.infer.recent() if lane.pipeline else None
            if recent is not None and recent.count() >= _FEW:
                return Measured(recent.percentile(0.5) or 0.0, recent.percentile(0.95) or 0.0, recent.count())
        return None

    def serve(self, model: str, release: Release, need_mib: float, cancelled: Callable[[], bool], variant: str = "") -> dict[str, Any]:
        """Bring all pipelines of a model to `release`, to the variant that was on trial where there is one; those that run it already stay.

        Gives what it took: `beside`, whether both releases were in memory; `gap_ms`, the longest
        time that nothing was served; `waited`, the messages that had queued up at its end.
        Raises Cancelled, what loading raises, OperatorError(`channels-do-not-match`) and
        BoardError(`swap-timeout`); some pipelines may then run it and some not.
        """
        lanes = [lane for lane in self.lanes(model) if not _runs(lane, release)]
        running = [(lane, lane.pipeline) for lane in lanes if lane.pipeline is not None]
        beside = self._fits_beside(release, need_mib * len(running))
        changes = (self._beside if beside else self._over_gaps)(running, release, cancelled, [variant] if variant else [])
        for lane in lanes:
            if lane.pipeline is None:
                self._begin(lane)
                self._served(lane, release, 0.0)
        gap = max((change.gap_ns for change in changes), default=0)
        return {"beside": beside, "gap_ms": gap / 1e6, "waited": sum(change.waited for change in changes)}

    def vary(self, lane: Lane, variant: str, need_mib: float, cancelled: Callable[[], bool]) -> None:
        """Bring a pipeline to another variant of the release that it runs. Raises as `serve`; then it runs what it ran."""
        assert lane.pipeline is not None
        assert lane.release is not None
        running = [(lane, lane.pipeline)]
        beside = self._fits_beside(lane.release, need_mib)
        (self._beside if beside else self._over_gaps)(running, lane.release, cancelled, [variant], only=True)

    def replace(self, lane: Lane, variants: Iterable[str], cancelled: Callable[[], bool]) -> None:
        """Bring a pipeline to the first of these variants of its release that loads. Raises as `serve`, and what `variants` raises."""
        assert lane.pipeline is not None
        assert lane.release is not None
        self._beside([(lane, lane.pipeline)], lane.release, cancelled, list(variants), only=True)

    def revive(self, lane: Lane, cancelled: Callable[[], bool]) -> None:
        """Give a pipeline that lost its model the release back that it ran, in the variant that is chosen now. Raises as `serve`."""
        assert lane.pipeline is not None
        assert lane.release is not None
        self._beside([(lane, lane.pipeline)], lane.release, cancelled, [])

    def shadow(
        self, release: Release, variant: str, windows: int, need_mib: float, progress: Callable[[int], None], cancelled: Callable[[], bool]
    ) -> dict[str, Any]:
        """Let a candidate see the live windows of the model's first pipeline, in the variant that was on trial; see `run_shadow`.

        Nothing where none runs, and for texts: two language models at once would have each text wait for the other's. Nor of readings
        from a serial line that were taken for the channels of the release that serves, where the candidate takes others.

        Raises BoardError(`memory-short`) where it does not have room beside the release that serves.
        """
        name = release.manifest.name
        if release.manifest.input.kind == "text":
            return {}
        for lane in self.lanes(name):
            if lane.pipeline is not None and lane.pipeline.fault is None:
                if lane.pipeline.assembly.channels != channels_of(lane.options, release.manifest):
                    return {}
                check_available(f"the shadow of {name} {release.manifest.release}", need_mib)
                return run_shadow(lane, windows, partial(self._load_shadow, lane, release, variant), self._parts.clock, progress, cancelled)
        return {}

    def stop(self, model: str, cancelled: Callable[[], bool]) -> None:
        """Take the model from its pipelines: there is no release that may serve. Raises Cancelled, BoardError(`swap-timeout`)."""
        error = OperatorError("no-such-model", f"there is no good release of {model}", "install one with `edged models install`")

        def none() -> LoadedModel:
            raise error

        for lane in self.lanes(model):
            if lane.pipeline is not None and lane.pipeline.fault is None:
                change = lane.pipeline.swap_over_gap(none, none)
                self._wait(change, cancelled)
            lane.error = error

    def watched(self, model: str) -> Watched:
        """Sum up what the model's pipelines did since its release serves."""
        lanes, now = self.lanes(model), self._parts.clock.mono()
        seen: list[tuple[Counters, Baseline]] = []
        for lane in lanes:
            if lane.pipeline is not None:
                base = self._since[lane.options.name]
                base.look(lane.pipeline, now)
                seen.append((lane.pipeline.counters, base))
        errors = [lane.error for lane in lanes if lane.error is not None]
        return Watched(
            windows=sum(counters.windows - base.windows for counters, base in seen),
            errors=sum(counters.failed_windows - base.failed for counters, base in seen),
            results=sum(counters.results - base.results for counters, base in seen),
            late=sum(counters.late_results - base.late for counters, base in seen),
            was_late=max((base.was_late for _, base in seen), default=0.0),
            seconds=min(((now - base.mono) / NS for _, base in seen), default=0.0),
            pipelines=len(seen),
            behind=any(base.behind for _, base in seen),
            stuck=any(is_stuck(lane, self._parts.clock) for lane in lanes if lane.pipeline and not lane.pipeline.delivering),
            failed=Refusal(**errors[0].as_dict()) if errors else None,
        )

    def _fits_beside(self, release: Release, need_mib: float) -> bool:
        selection = self._parts.selection
        if self._budget_mib and selection is not None and selection.used_mib() + need_mib > self._budget_mib:
            return False
        try:
            check_available(f"{release.manifest.name} {release.manifest.release} beside the release that serves", need_mib)
        except BoardError:
            return False
        return True

    def _beside(
        self, running: Running, release: Release, cancelled: Callable[[], bool], first: list[str], only: bool = False
    ) -> list[Change]:
        """Load everything first, so that what does not load changes nothing."""
        changes: list[Change] = []
        loaded: list[LoadedModel] = []
        try:
            for lane, _ in running:
                loaded.append(self._load(lane, release, first, only))
                if cancelled():
                    raise Cancelled
            for (lane, pipeline), inference in zip(running, loaded.copy(), strict=True):
                was_late = part_late(pipeline, self._since[lane.options.name])
                changes.append(pipeline.swap(inference))
                loaded.remove(inference)  # the pipeline's from here on
                self._made(changes[-1], cancelled)
                self._served(lane, release, was_late)
        finally:
            for inference in loaded:
                inference.close()
        return changes

    def _over_gaps(
        self, running: Running, release: Release, cancelled: Callable[[], bool], first: list[str], only: bool = False
    ) -> list[Change]:
        changes = []
        for lane, pipeline in running:
            load = partial(self._load, lane, release, first, only)
            back = partial(self._load, lane, lane.release or release, [pipeline.inference.model.variant])
            was_late = part_late(pipeline, self._since[lane.options.name])
            changes.append(pipeline.swap_over_gap(load, back))
            self._made(changes[-1], cancelled)
            self._served(lane, release, was_late)
        return changes

    def _made(self, change: Change, cancelled: Callable[[], bool]) -> None:
        self._wait(change, cancelled)
        if change.error is not None:
            raise change.error

    def _wait(self, change: Change, cancelled: Callable[[], bool]) -> None:
        """Wait until a change is over, made or not."""
        until = self._parts.clock.mono() + int(SWAP_LIMIT_S * NS)
        while not change.wait(_POLL_S):
            late = self._parts.clock.mono() >= until
            if (late or cancelled()) and change.cancel():
                if late:
                    text = f"a pipeline did not come to the end of a batch within {SWAP_LIMIT_S:g} s"
                    raise BoardError("swap-timeout", text, "see whether its model hangs: `edged status`")
                raise Cancelled

    def _load(self, lane: Lane, release: Release, first: list[str], only: bool = False) -> LoadedModel:
        """Load a variant of a release: the first of `first` that does, then, unless `only` these are wanted, the one that is chosen."""
        around = self._parts.around
        assert around is not None
        order = first if only else self._order(lane, release, first)
        return around.load(lane.options, release, self._opener(release), order)

    def _load_shadow(self, lane: Lane, release: Release, variant: str) -> LoadedModel:
        assert self._parts.around is not None
        order = self._order(lane, release, [variant] if variant else [])
        return load_best(release, self._opener(release), order, replace(self._parts.around.usage_of(lane.options), escalates=False))[0]

    def _order(self, lane: Lane, release: Release, first: list[str]) -> Iterable[str] | None:
        assert self._parts.around is not None
        chosen = self._parts.around.order_of(lane.options, release)
        return None if chosen is None else chain(first, _never_refused(chosen, release))

    def _opener(self, release: Release) -> OpenEngine:
        assert self._parts.around is not None
        return opener(self._parts.around.open_engine, release, self._parts.loaded.state_dir)

    def _begin(self, lane: Lane) -> None:
        lane.error = None
        find(lane, self._parts.loaded.state_dir)
        fill(lane, self._parts)
        error: EdgedError | None = lane.error
        if error is not None:
            raise error
        begin(lane, self._parts)

    def _served(self, lane: Lane, release: Release, was_late: float) -> None:
        """Note that a lane runs `release`; at once, so that what fails in the next lane finds this one as it is."""
        assert lane.pipeline is not None
        lane.release, lane.error = release, None
        self._since[lane.options.name] = at_swap(lane.pipeline, self._parts.clock.mono(), was_late)


def _never_refused(chosen: Iterable[str], release: Release) -> Iterator[str]:
    """Give what is chosen, and where that is nothing all variants, the smallest first.

    An update was held to all limits before it came here. What comes back served before: no prediction keeps it from serving again.
    """
    try:
        yield from chosen
    except DoesNotFit:
        yield from (each.name for each in sorted(in_order(release), key=lambda each: release.path_of(each).stat().st_size))


def _runs(lane: Lane, release: Release) -> bool:
    if lane.pipeline is None or lane.pipeline.fault or lane.error is not None or lane.release is None:
        return False
    return (lane.release.manifest.release, lane.release.digest) == (release.manifest.release, release.digest)
