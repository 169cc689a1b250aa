"""Which variant each pipeline of a daemon runs: what they demand, what the board has, and what is chosen of it.

Memory and the release's minimum quality are limits: what is beyond them does not run. Deadline and processor are goals: where
no variant reaches them the fastest runs, and `late` says what is missed, for a prediction may be wrong and a late result
is better than none. What is loaded also keeps what the board can spare at that moment; where nothing does, as at a start
amid programs that will give memory back, the least is loaded. An update is held to all four, a way back to none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from edged.board.inforce import Board, board_here
from edged.board.memory import available_mib
from edged.config import schema
from edged.errors import EdgedError
from edged.models.active import active_release
from edged.models.costs import Costs
from edged.models.manifest import Release
from edged.select.choose import choose, is_sound, work
from edged.select.demand import Wanted, costs_of_release, demands, limits_of, runtime_mib, sha256_of
from edged.select.measured import Measured, Measurements
from edged.select.misses import misses
from edged.select.pressure import MARGIN_MIB, kept_mib, running_options
from edged.select.terms import Choice, Demand, Limits, Option
from edged.select.why import Answer, answer, refusal

if TYPE_CHECKING:
    from edged.service.parts import Lane

_CLEARLY = 1.1  # a goal that was missed is kept again only with this distance, so that nothing is told back and forth
_LEAST_RATE = 1e-3  # windows a second; a pipeline that gets fewer is held to its release's rate: its sensor may come back

_GOALS = ("deadline", "processor")

Candidate = tuple[schema.Pipeline, Release, Mapping[str, Costs] | None]  # costs None: those of its release.json or its files


class Selection:
    """Chooses for all pipelines together. For any thread. `late` says by pipeline which goal the variant misses that it runs."""

    def __init__(
        self,
        board: Board,
        budget_mib: int,
        measured: Measurements,
        root: Path | None = None,
        find: Callable[[str], Release] | None = None,
    ) -> None:
        """`budget_mib` is what models may take, 0: what the board has. `root` is where this board says what memory is left.

        `find` gives the release of another model that serves here, for a cascade that asks it.
        """
        self.board = board
        self._root = root
        self._find = find
        self.limits = limits_of(board, budget_mib)
        self.late: dict[str, str] = {}
        self.measured = measured
        self._lanes: Sequence[Lane] = ()
        self._not_loaded: dict[tuple[str, str], EdgedError] = {}
        self._aside: dict[tuple[str, str], EdgedError] = {}  # by release and variant
        self._lock = threading.Lock()
        self._costs: dict[tuple[str, frozenset[str]], Mapping[str, Costs]] = {}  # by release, and what is here of it

    def bind(self, lanes: Sequence[Lane], not_loaded: dict[tuple[str, str], EdgedError]) -> None:
        """Choose for these lanes from here on; `not_loaded` says by pipeline and variant what did not load."""
        self._lanes, self._not_loaded = lanes, not_loaded

    def order(self, options: schema.Pipeline, release: Release) -> Iterator[str]:
        """Give the variants that a pipeline is to try to load, the chosen one first; the next is chosen when it is asked for.

        Raises DoesNotFit where there is none at all.
        """
        tried: set[str] = set()
        while (option := self._next(options, release, tried)) is not None:
            tried.add(option.variant)
            yield option.variant

    def fitting(self, candidates: Sequence[Candidate]) -> list[Option]:
        """Give the options of a release that may be tried for all of its pipelines, the chosen one first.

        The pipelines of a model go over to one variant, the one that was tried: so all of them have to have room for it.
        Raises DoesNotFit where one of the candidates would have none that keeps deadline, processor, memory and quality.
        """
        found = self.demands({each[0].name: each for each in candidates})
        names = {options.name for options, _, _ in candidates}
        first = candidates[0][0].name
        variants = {each.variant for demand in found if demand.pipeline == first for each in demand.options}
        unfit = {each for each in variants if not self._serves_all([_only(demand, each, names) for demand in found], names)}
        if unfit == variants:
            self._refuse(found, names)
        found = [_without(each, unfit) if each.pipeline in names else each for each in found]
        chosen: list[Option] = []
        while (option := choose(found, self.limits).chosen.get(first)) is not None:
            chosen.append(option)
            found = [_without(each, {option.variant}) if each.pipeline == first else each for each in found]
        return chosen

    def _serves_all(self, found: Sequence[Demand], names: Collection[str]) -> bool:
        chosen = choose(found, self.limits).chosen
        return all(chosen[name] is not None for name in names)

    def _refuse(self, found: Sequence[Demand], names: Collection[str]) -> NoReturn:
        choice = choose(found, self.limits)
        candidates = sorted((each for each in found if each.pipeline in names), key=lambda each: choice.chosen[each.pipeline] is not None)
        refused = refusal(candidates[0], self.limits, _others(found, choice, candidates[0].pipeline))
        if self.board.calibration is None and any(f"{goal}: " in refused.text for goal in _GOALS):
            refused.hint += "; its time is predicted from a profile, and `edged board calibrate` may show that it fits"
        raise refused

    def options(self, options: schema.Pipeline, release: Release) -> tuple[Option, ...]:
        """Give what a pipeline could run of a release of the store."""
        found = self.demands({options.name: (options, release, None)})
        return next(each.options for each in found if each.pipeline == options.name)

    @property
    def basis(self) -> str:
        """Name what the choice depends on beside releases and pipelines: where it is another, what did not fit may fit."""
        calibrated = self.board.calibration.at if self.board.calibration else "not calibrated"
        return f"{self.board.key} {calibrated} {self.limits.memory_mib:.0f} MiB"

    def tried(self, release: Release, report: Mapping[str, Any], at: int) -> None:
        """Keep what a trial measured."""
        measured = Measured(p50_ms=report["p50_ms"], p95_ms=report["p95_ms"], windows=report["windows"], mib=max(0.0, report["pss_mib"]))
        self.note(release, report["variant"], report["engine"], measured, at)
        with suppress(OSError):  # it stays in memory, and is written with the next
            self.measured.save()

    def note(self, release: Release, variant: str, build: str, measured: Measured, at: int) -> None:
        """Keep what a variant took with an engine build; `at` is wall time in nanoseconds."""
        sha256 = sha256_of(release, variant)
        if sha256 is not None:
            self.measured.note(sha256, build, self.board.key, measured, at)

    def put_aside(self, release: Release, variant: str, error: EdgedError) -> None:
        """Choose a variant of a release no more: its process failed again and again."""
        self._aside[release.digest, variant] = error

    def aside(self, release: Release) -> dict[str, EdgedError]:
        """Give the variants of a release that are put aside, and why."""
        return {variant: error for (digest, variant), error in self._aside.copy().items() if digest == release.digest}

    def demands(self, candidates: Mapping[str, Candidate] | None = None) -> list[Demand]:
        """Say what all pipelines demand, some of them of a candidate in place of what they run."""
        wanted: dict[str, Wanted] = {}
        with self._lock:
            lanes = {lane.options.name: lane for lane in self._lanes}
            for name, lane in lanes.items():
                if lane.release is not None and lane.error is None:
                    wanted[name] = self._wanted((lane.options, lane.release, None), lane)
            for name, candidate in (candidates or {}).items():
                wanted[name] = self._wanted(candidate, lanes.get(name))
            return demands(list(wanted.values()), self.board, self.measured)

    def limits_for(self, found: Sequence[Demand], names: Collection[str]) -> Limits:
        """Give what is left of the limits for the pipelines of `names`, while the others run what they run."""
        running, others = self.running(), [each for each in found if each.pipeline not in names]
        return _left(
            self.limits, [(each, option) for each in others for option in each.options if running.get(each.pipeline) == option.variant]
        )

    def why(self) -> Answer:
        """Answer `edged why`."""
        found = self.demands()
        said = answer(self.board.profile.name, found, self.limits, choose(found, self.limits))
        failed = {lane.options.name: lane.error.as_dict() for lane in self._lanes if lane.error is not None}
        return msgspec.structs.replace(said, refusals=failed | said.refusals, running=self.running())

    def look(self) -> list[Demand]:
        """Say what all pipelines demand now, and note in `late` which of them run what misses a goal."""
        found, late = self.demands(), {}
        options = running_options(found, self.running())
        for demand, option in ((each, options[each.pipeline]) for each in found if each.pipeline in options):
            before = self.late.get(demand.pipeline)
            if missed := self._missed(demand, option):
                late[demand.pipeline] = f"{option.variant}: {missed}"
            elif before and self._missed(replace(demand, windows_per_s=_CLEARLY * demand.windows_per_s), _slower(option)):
                late[demand.pipeline] = before
        self.late = late
        return found

    def _missed(self, demand: Demand, option: Option) -> str:
        """Say which goal an option misses, whatever the others do; empty: none."""
        return next((miss.text for miss in misses(demand, option, self.limits, ()) if miss.code in _GOALS), "")

    def used_mib(self) -> float:
        """Give the memory that the models take that run."""
        return sum(option.mib for option in running_options(self.demands(), self.running()).values())

    def running(self) -> dict[str, str]:
        """Give the variant by pipeline."""
        lanes = [(lane.options.name, lane.pipeline) for lane in self._lanes if lane.pipeline and not (lane.error or lane.pipeline.fault)]
        return {name: pipeline.inference.model.variant for name, pipeline in lanes}

    def _next(self, options: schema.Pipeline, release: Release, tried: set[str]) -> Option | None:
        """Choose for one pipeline beside the others, without some variants; see the module on goals and limits."""
        name = options.name
        found = [_without(each, tried) if each.pipeline == name else each for each in self.demands({name: (options, release, None)})]
        demand = next(each for each in found if each.pipeline == name)
        now = self._limits_now(found)
        option = choose(found, now).chosen.get(name)
        if option is not None:
            return option
        choice = choose(found, self.limits)
        others = _others(found, choice, name)
        room_mib = _left(self.limits, others).memory_mib
        sound = [each for each in demand.options if is_sound(demand, each) and each.mib <= room_mib]
        if sound and choice.chosen.get(name) is not None:  # it is only now that memory is short
            return min(sound, key=lambda each: (each.mib, each.worst_ms, each.variant))
        if sound:
            return min(sound, key=lambda each: (each.worst_ms, each.mib, each.variant))
        if not tried:
            raise refusal(demand, self.limits, others)
        return None

    def _limits_now(self, found: Sequence[Demand]) -> Limits:
        """Give the limits with no more memory than the board can spare now, what models have of it included."""
        available = available_mib(self._root) if self._root is not None else None
        if available is None:
            return self.limits
        options = running_options(found, self.running())
        ours = sum(option.mib for option in options.values()) if options else -runtime_mib(self.board)
        room = available + ours - kept_mib(self.board.reserve_mib) - MARGIN_MIB
        return replace(self.limits, memory_mib=max(0.0, min(self.limits.memory_mib, room)))

    def _wanted(self, candidate: Candidate, lane: Lane | None) -> Wanted:
        options, release, costs = candidate
        if costs is None:
            costs = self._costs_of(release)
        streams = len(lane.pipeline.assembly.streams.streams) if lane and lane.pipeline else 1
        runs = lane is not None and lane.release is not None and lane.release.digest == release.digest
        failed = {variant: error.text for (name, variant), error in self._not_loaded.copy().items() if runs and name == options.name}
        failed |= {variant: error.text for variant, error in self.aside(release).items()}
        return Wanted(options, release, costs, _windows_per_s(lane), max(1, streams), failed, self._others(options, release))

    def _others(self, options: schema.Pipeline, release: Release) -> dict[str, Wanted]:
        """Give the other models that a release's cascade asks, those that are here."""
        cascade, own = release.manifest.cascade, {each.name for each in release.manifest.variants}
        found: dict[str, Wanted] = {}
        if cascade is None or self._find is None:
            return found
        for name in (stage.use for stage in cascade.stages if stage.use not in own):
            with suppress(EdgedError):  # the cascade does without
                other = self._find(name)
                found[name] = Wanted(options, other, self._costs_of(other))
        return found

    def _costs_of(self, release: Release) -> Mapping[str, Costs]:
        key = release.digest, frozenset(release.files)
        if key not in self._costs:
            self._costs[key] = costs_of_release(release)
        return self._costs[key]


def selection_of(state_dir: Path, profile: str, budget_mib: int, root: Path = Path("/")) -> Selection:
    """Look at this board, and give its selection; raises OperatorError(`unknown-profile`)."""
    return Selection(board_here(root, profile, state_dir), budget_mib, Measurements(state_dir), root, partial(active_release, state_dir))


def _left(limits: Limits, others: Sequence[tuple[Demand, Option]]) -> Limits:
    mib = sum(option.mib for _, option in others)
    busy = sum(work(demand, option) for demand, option in others)
    return replace(limits, memory_mib=max(0.0, limits.memory_mib - mib), workers=max(0.0, limits.workers - busy / limits.share))


def _others(found: Sequence[Demand], choice: Choice, name: str) -> list[tuple[Demand, Option]]:
    chosen = ((each, choice.chosen.get(each.pipeline)) for each in found if each.pipeline != name)
    return [(each, option) for each, option in chosen if option is not None]


def _slower(option: Option) -> Option:
    return replace(option, worst_ms=_CLEARLY * option.worst_ms)


def _only(demand: Demand, variant: str, names: Collection[str]) -> Demand:
    return _without(demand, {each.variant for each in demand.options} - {variant}) if demand.pipeline in names else demand


def _without(demand: Demand, variants: set[str]) -> Demand:
    return replace(demand, options=tuple(each for each in demand.options if each.variant not in variants))


def _windows_per_s(lane: Lane | None) -> float | None:
    """Give how many windows a second come to a lane, as its last ten seconds show; None where they do not."""
    if lane is None or lane.rates is None or lane.release is None:
        return None
    given = lane.release.manifest.input
    rate = lane.rates[0].rate() / (given.hop or given.samples)
    return rate if rate >= _LEAST_RATE else None
