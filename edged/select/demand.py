"""What pipelines demand of a board: for each variant of their releases time, memory, and whether it can run there at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edged.board.inforce import Board, board_here
from edged.config import schema
from edged.engines.base import Build
from edged.engines.choose import NEEDS, RUNTIMES, TEXT_RUNTIMES, available, text_builds
from edged.engines.wheels import is_for_any
from edged.models.costs import Costs
from edged.models.manifest import ABSENT, Release
from edged.models.schema import Variant
from edged.select.costing import costs_of_release, sha256_of
from edged.select.measured import ENOUGH, ENOUGH_FOR_PEAKS, Lookup, Measured
from edged.select.predict import Need, predict
from edged.select.preparing import preparing_ms
from edged.select.stages import asked_before, other_models, part_asked, place_of
from edged.select.terms import Demand, Limits, Option
from edged.select.texts import need_of_text, speedup_of, threads_of

__all__ = ["Wanted", "costs_of_release", "demands", "limits_of", "runtime_mib", "sha256_of"]

_RATE = 1.0  # windows a second of one stream, where the release says no rate
_TEXT_RATE = 0.1  # texts a second: what people and machines write comes now and then; what really comes counts soon
_PACKAGES = {"tflite": RUNTIMES, "llama": TEXT_RUNTIMES}  # by engine; `linear` has no package of its own


@dataclass(frozen=True)
class Wanted:
    """One pipeline and the release that it is to run.

    costs           of the variants, see `costs_of_release`; a variant without is refused
    windows_per_s   as measured, of all streams together; None: the release's rate for each of `streams`
    failed          why a variant did not load here, by its name
    others          other models that its cascade asks, by their names, as far as they are here
    """

    options: schema.Pipeline
    release: Release
    costs: Mapping[str, Costs]
    windows_per_s: float | None = None
    streams: int = 1
    failed: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Wanted] = field(default_factory=dict)


def demands(wanted: Sequence[Wanted], board: Board, measured: Lookup | None = None, here: Board | None = None) -> list[Demand]:
    """Give what pipelines demand of `board`; `measured` replaces what is predicted where it has enough windows.

    Preprocessing is measured on this machine. For a `board` that is another one it is scaled by what a call into a runtime
    costs on both; `here` is this machine, left out: looked at.
    """
    builds = [*available(), *text_builds()] if board.detected is not None else []
    slower = 1.0
    if board.detected is None and any(each.release.manifest.input.preprocess for each in wanted):
        slower = board.rates(None).call_us / (here or board_here(Path("/"))).rates(None).call_us
    return [_demand(each, board, _Runtimes(builds, measured), slower) for each in wanted]


def limits_of(board: Board, memory_budget_mib: int) -> Limits:
    """Give what the models of a board may take: the budget, 0: its memory without the reserve and the runtime itself; its workers."""
    there = board.ram_mib - board.reserve_mib - runtime_mib(board)
    return Limits(memory_mib=min(memory_budget_mib, board.ram_mib) if memory_budget_mib else max(0.0, there), workers=board.workers)


def runtime_mib(board: Board) -> float:
    """Give what the runtime itself takes, before the first model."""
    return board.rates(_name_of(_runtime(board))).base_mib


@dataclass(frozen=True)
class _Runtimes:
    """The runtimes of this board, of each engine the best first, and what was measured with them; none for another board."""

    builds: Sequence[Build]
    measured: Lookup | None

    def of(self, engine: str) -> list[Build]:
        """Give those that run an engine."""
        return [build for build in self.builds if build.engine == engine]

    def find(self, release: Release, variant: Variant, board: Board) -> Measured | None:
        """Give what a variant took with the best runtime that ran it."""
        builds = self.of(variant.engine)
        if self.measured is None or not builds or (sha256 := sha256_of(release, variant.name)) is None:
            return None
        found = (self.measured.find(sha256, str(build), board.key) for build in builds)
        return next((each for each in found if each), None)


def _demand(wanted: Wanted, board: Board, runtimes: _Runtimes, slower: float) -> Demand:
    manifest, options = wanted.release.manifest, wanted.options
    rate, quality, streams = wanted.windows_per_s, manifest.quality, max(1, wanted.streams)
    preparing = preparing_ms(manifest.input) * slower
    rate = rate if rate is not None else streams * _nominal(wanted.release)
    return Demand(
        pipeline=options.name,
        model=manifest.name,
        release=manifest.release,
        class_=options.class_,
        deadline_ms=options.deadline_ms,
        windows_per_s=rate,
        options=tuple(_option(wanted, variant, board, runtimes, preparing, rate) for variant in manifest.variants),
        higher_is_better=quality is None or quality.higher_is_better,
        minimum=quality.minimum if quality else None,
    )


def _nominal(release: Release) -> float:
    """Give how many windows of one stream the release means a second to have."""
    given = release.manifest.input
    if given.kind == "text":
        return _TEXT_RATE
    return given.rate_hz / (given.hop or given.samples) or _RATE


def _option(wanted: Wanted, variant: Variant, board: Board, runtimes: _Runtimes, preparing: float, rate: float) -> Option:
    release, stateful = wanted.release, wanted.release.manifest.input.stateful
    before = [each for each in asked_before(release, variant.name) if not _refused(wanted, each, board, runtimes)]
    with_it = [(wanted, each, each.name) for each in before] + [(wanted, variant, variant.name)]
    with_it += [(other, _best(other.release), name) for name, other in _others(wanted, variant)]
    needs = [_predicted(whose, each, board, runtimes) for whose, each, _ in with_it]
    asked = [part_asked(release.manifest, name, rate) for _, _, name in with_it]
    copies = 1 + max(1, wanted.streams) if stateful else 1  # one engine for each stream, and the one that was loaded first
    tried = 2 if stateful else 1  # a trial has one stream
    ms = preparing + sum(need.ms * part for need, part in zip(needs, asked))
    mib = sum(need.mib for need in needs) * copies
    found = runtimes.find(release, variant, board)
    timed = found is not None and found.windows >= ENOUGH
    return Option(
        variant=variant.name,
        engine=variant.engine,
        quality=variant.quality,
        ms=found.p50_ms if found and timed else ms,
        worst_ms=_worst_ms(found) if found and timed else preparing + sum(need.ms for need in needs),
        mib=found.mib * copies / tried if found and found.mib is not None else mib,
        predicted_ms=ms,
        predicted_mib=mib,
        measured=timed,
        measured_mib=found is not None and found.mib is not None,
        threads=threads_of(variant.engine, board),
        speedup=speedup_of(release.manifest, variant, costs, board) if (costs := wanted.costs.get(variant.name)) else 1.0,
        stage=place_of(release.manifest, variant.name),
        refused=_refused(wanted, variant, board, runtimes),
    )


def _others(wanted: Wanted, variant: Variant) -> list[tuple[str, Wanted]]:
    names = other_models(wanted.release.manifest, variant.name)
    return [(name, wanted.others[name]) for name in names if name in wanted.others and wanted.others[name].release.here]


def _best(release: Release) -> Variant:
    """Give the variant of another model that a cascade asks: the best that is here."""
    quality = release.manifest.quality
    sign = 1 if quality is None or quality.higher_is_better else -1
    return max(release.here, key=lambda each: (each.quality is not None, sign * (each.quality or 0.0)))


def _worst_ms(found: Measured) -> float:
    return found.p95_ms if found.windows >= ENOUGH_FOR_PEAKS else found.p50_ms


def _predicted(wanted: Wanted, variant: Variant, board: Board, runtimes: _Runtimes) -> Need:
    manifest, costs = wanted.release.manifest, wanted.costs.get(variant.name)
    if costs is None:
        return Need(0.0, 0.0)
    if manifest.input.kind == "text":
        return need_of_text(manifest, variant, costs, board, _is_generic(board, runtimes))
    return predict(costs, board.rates(_name_of(runtimes.of(variant.engine))), board.bandwidth_gbs)


def _is_generic(board: Board, runtimes: _Runtimes) -> bool:
    """Say whether language models run with a build for any 64-bit ARM. Of another board the wheel is taken for granted."""
    builds = runtimes.of("llama")
    return board.arch == "aarch64" and (not builds or is_for_any(builds[0].package))


def _refused(wanted: Wanted, variant: Variant, board: Board, runtimes: _Runtimes) -> str:
    """Say why a variant cannot run on a board whatever else runs there; empty: it can."""
    engine, arches = variant.engine, NEEDS[variant.engine]
    if board.arch not in arches:
        return f"engine: {engine} runs on {' and '.join(arches)}, and this board is {board.arch}"
    if missing := [each for each in arches[board.arch] if each not in board.isa]:
        return f"engine: {engine} needs {' and '.join(missing)}, which this board does not have"
    if board.detected is not None and not runtimes.of(engine):
        packages = " or ".join(package for package, _ in _PACKAGES[engine].values())
        return f"engine: no runtime for {engine} is installed, such as {packages}"
    if not wanted.release.has(variant):
        return f"absent: {ABSENT}"
    if place_of(wanted.release.manifest, variant.name) == 0:
        return "cascade: it is none of its stages"
    if variant.name in wanted.failed:
        return f"load: {wanted.failed[variant.name]}"
    return "" if variant.name in wanted.costs else "costs: neither release.json nor its file says what it takes"


def _runtime(board: Board) -> Sequence[Build]:
    return available() if board.detected is not None else []


def _name_of(builds: Sequence[Build]) -> str | None:
    return str(builds[0]) if builds else None
