"""Follow the board while pipelines run: feed what it shows to the adaptation, make the changes that it asks for, keep what was measured.

Runs in the fleet thread, between two steps of updates: so no update and no adaptation ever change a pipeline at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from edged.board.sensors import Felt, Sensors
from edged.clock import NS
from edged.errors import BugError, Cancelled, EdgedError
from edged.select.adapt import LOOK_S, Adaptation, Observed, Seen, Step
from edged.select.measured import ENOUGH, Measured
from edged.select.pressure import running_options
from edged.select.terms import Demand, Option
from edged.service.parts import Lane, Parts
from edged.service.selection import Selection
from edged.service.serving import Serving
from edged.stream.loaded import LoadedModel
from edged.stream.pipeline import Pipeline

CRASH_LOOP = "crash-loop"
_KEEP_NS = 300 * NS  # between two writes of what was measured
_RECENT_NS = 120 * NS  # windows of so long are among those that are remembered
_REVIVE_NS = 60 * NS  # between two tries to give a pipeline a model that lost it
_PEAKS_NS = 86_400 * NS  # so long a variant is held to its peaks without running


@dataclass(frozen=True)
class Varied:
    """A pipeline went over to another variant of its release, or could not: then `error` says why."""

    pipeline: str
    model: str
    release: int
    before: str
    after: str
    cause: str
    text: str
    error: EdgedError | None = None


@dataclass
class _Before:
    """Counters of one pipeline at the last look."""

    mono: int
    windows: int
    messages: int
    arrived: int
    results: int
    late: int


class Adapting:
    """One daemon's. `varied` collects changes until somebody tells them; `felt` is the last look at the sensors.

    `costs` is what is known of the variants that run, by pipeline.
    """

    def __init__(self, parts: Parts, serving: Serving, selection: Selection, sensors: Sensors) -> None:
        board = selection.board
        self.varied: deque[Varied] = deque(maxlen=1000)
        self.felt: Felt | None = None
        self.costs: dict[str, Option] = {}
        self._parts = parts
        self._serving = serving
        self._selection = selection
        self._sensors = sensors
        self._adaptation = Adaptation(board.thermal, board.reserve_mib)
        self._before: dict[str, _Before] = {}
        self._next = 0
        self._next_keep = parts.clock.mono() + _KEEP_NS
        self._next_revival = 0
        self._given_up: dict[str, LoadedModel] = {}  # by pipeline: what was put aside with nothing to take its place
        self._measured_from = 0  # when all that is remembered is of a board at ease

    @property
    def stuck(self) -> str:
        """Say which pressure no smaller variant can relieve; empty: none."""
        return self._adaptation.stuck

    def step(self, updating: Collection[str], cancelled: Callable[[], bool]) -> bool:
        """Look at the board, where it is time to, and make the change that follows; say whether it was time.

        The models of `updating` are left alone.
        """
        now = self._parts.clock.mono()
        if now < self._next:
            return False
        self._next = now + LOOK_S * NS
        self._revive(updating, cancelled)
        lanes = {each.options.name: each for each in self._parts.lanes if _is_free(each, updating)}
        for name, lane in lanes.items():
            self._put_aside(name, lane, cancelled)
        found = self._selection.look()
        self.costs = running_options(found, self._selection.running())
        demands, limits = [each for each in found if each.pipeline in lanes], self._selection.limits_for(found, lanes)
        step = self._adaptation.look(self._observe(lanes, now), demands, limits, _running(lanes))
        if step is not None:
            self._make(step, lanes, demands, cancelled)
        if not self._adaptation.is_undisturbed:  # what a board takes that is slowed down says nothing of it at ease
            self._measured_from = now + _RECENT_NS
        if now >= self._measured_from:
            self._note(lanes)
        if now >= self._next_keep:
            self._next_keep = now + _KEEP_NS
            self._selection.measured.forget_peaks(self._parts.clock.wall() - _PEAKS_NS)
            self.keep()
        return True

    def keep(self) -> None:
        """Write what was measured. Where that fails it stays in memory, and is written with the next."""
        try:
            self._selection.measured.save()
        except OSError:
            return  # it costs predictions only; the state folder's own condition tells of it

    def _observe(self, lanes: dict[str, Lane], now: int) -> Observed:
        self.felt = felt = self._sensors.read()
        return Observed(
            mono_ns=now,
            available_mib=felt.available_mib,
            temperature_c=felt.temperature_c,
            throttled=felt.throttled,
            clock_ratio=felt.clock_ratio,
            pipelines={name: seen for name, lane in lanes.items() if (seen := self._seen(name, lane, now)) is not None},
        )

    def _seen(self, name: str, lane: Lane, now: int) -> Seen | None:
        """Say what came to a pipeline since the last look; nothing at the first."""
        assert lane.pipeline is not None
        counters, inbox = lane.pipeline.counters, lane.pipeline.inbox
        arrived = counters.messages + inbox.waiting + inbox.dropped
        before = self._before.get(name)
        self._before[name] = _Before(now, counters.windows, counters.messages, arrived, counters.results, counters.late_results)
        if before is None or now <= before.mono:
            return None
        windows, messages, results = (
            counters.windows - before.windows,
            counters.messages - before.messages,
            counters.results - before.results,
        )
        # What waits or was let go would have made windows, too.
        rate = windows * ((arrived - before.arrived) / messages) if messages else 0.0
        return Seen(
            windows_per_s=max(0.0, rate) * NS / (now - before.mono),
            late=(counters.late_results - before.late) / results if results else 0.0,
            p95_ms=counters.latency.recent().percentile(0.95),
            waiting=inbox.waiting,
        )

    def _make(self, step: Step, lanes: dict[str, Lane], demands: list[Demand], cancelled: Callable[[], bool]) -> None:
        """Change one pipeline after the other; the ones that make room first."""
        options = {(each.pipeline, option.variant): option.mib for each in demands for option in each.options}
        running, failed = _running(lanes), set(step.variants)

        def grows(item: tuple[str, str]) -> float:
            name, variant = item
            return options.get((name, variant), 0.0) - options.get((name, running[name]), 0.0)

        try:
            for name, variant in sorted(step.variants.items(), key=grows):
                if self._vary(lanes[name], variant, options.get((name, variant), 0.0), step, cancelled):
                    failed.discard(name)
        finally:
            self._adaptation.after(step, self._parts.clock.mono(), failed)

    def _vary(self, lane: Lane, variant: str, need_mib: float, step: Step, cancelled: Callable[[], bool]) -> bool:
        assert lane.pipeline is not None
        model = lane.pipeline.inference.model
        error: EdgedError | None = None
        try:
            self._serving.vary(lane, variant, need_mib, cancelled)
        except Cancelled:
            return False
        except EdgedError as failed:
            error = failed
        except Exception as bug:
            error = BugError.of("adapting-bug", bug)
        name = lane.options.name
        self.varied.append(Varied(name, model.name, model.release, model.variant, variant, step.cause, step.text, error))
        return error is None

    def _put_aside(self, name: str, lane: Lane, cancelled: Callable[[], bool]) -> None:
        """Put variants aside whose process failed again and again; where the pipeline runs such a one, the next best takes its place."""
        pipeline, release = lane.pipeline, lane.release
        assert pipeline is not None
        assert release is not None
        inference, own = pipeline.inference, {each.name for each in release.manifest.variants}
        lost = {variant: error for variant, error in inference.lost().items() if variant in own}
        for variant, error in lost.items():
            self._selection.put_aside(release, variant, error)
        model = inference.model
        if model.variant not in lost or self._given_up.get(name) is inference:
            return
        failed: EdgedError | None = None
        try:
            self._serving.replace(lane, self._selection.order(lane.options, release), cancelled)
        except Cancelled:
            return
        except EdgedError as error:
            failed = error
            self._given_up[name] = inference
        after = pipeline.inference.model.variant
        self.varied.append(Varied(name, model.name, model.release, model.variant, after, CRASH_LOOP, lost[model.variant].text, failed))

    def _revive(self, updating: Collection[str], cancelled: Callable[[], bool]) -> None:
        """Give pipelines their model back that lost it where neither the new variant loaded nor the old one again."""
        now = self._parts.clock.mono()
        lost = [lane for lane in self._parts.lanes if lane.pipeline and lane.pipeline.fault and lane.release and not lane.error]
        if not lost or now < self._next_revival:
            return
        self._next_revival = now + _REVIVE_NS
        for lane in lost:
            if lane.options.model not in updating:
                with suppress(EdgedError):  # the pipeline's own fault tells of it
                    self._serving.revive(lane, cancelled)

    def _note(self, lanes: dict[str, Lane]) -> None:
        """Note what a window took lately, by the bytes of the variant's file."""
        clock = self._parts.clock
        for lane in lanes.values():
            assert lane.pipeline is not None
            recent = lane.pipeline.counters.infer.recent()
            if lane.release is None or recent.count() < ENOUGH:
                continue
            inference = lane.pipeline.inference
            p50, p95 = recent.percentile(0.5) or 0.0, recent.percentile(0.95) or 0.0
            own = inference.mib()  # of processes of its own; what shares this one cannot be told apart
            measured = Measured(p50_ms=p50, p95_ms=p95, windows=recent.count(), mib=own or None)
            self._selection.note(lane.release, inference.model.variant, str(inference.build), measured, clock.wall())


def _is_free(lane: Lane, updating: Collection[str]) -> bool:
    pipeline = lane.pipeline
    return pipeline is not None and lane.release is not None and not (lane.error or pipeline.fault) and lane.options.model not in updating


def _running(lanes: dict[str, Lane]) -> dict[str, str]:
    pipelines: dict[str, Pipeline] = {name: lane.pipeline for name, lane in lanes.items() if lane.pipeline is not None}
    return {name: pipeline.inference.model.variant for name, pipeline in pipelines.items()}
