"""What a board's state leaves of its memory and time, smoothed over seconds: the limits that the choice of variants has to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edged.clock import NS
from edged.select.terms import Demand, Limits, Option

if TYPE_CHECKING:
    from edged.board.profile import Thermal

KEPT_OF_RESERVE = 0.25  # of the reserve stays available; the rest of it is what the system and other programs have in use
LEAST_KEPT_MIB = 32.0
MARGIN_MIB = 32.0  # of memory, and
MARGIN_RATE = 1.1  # of the rates: a choice that is to be made keeps this distance
NEAR_C = 3.0  # below the temperature where the board slows down: hot
COOL_C = 10.0  # below it: no longer
COOLER = 0.75  # so much of the processor time is left at a step against heat
SILENT_S = 600  # a thermometer that says nothing for so long counts as none
COOLING_S = 120  # a board takes minutes to follow its load
OURS = 0.05  # of the granted workers' time: with less, the heat is not from models
LATE = 0.05  # share of late results
DRAIN_S = 30  # after a change of its variant, a pipeline works off what waited
THROTTLED_SLOW = 1.25  # at least: the kernel may show the clock that was asked for, not the real one

_CAPPED = 0b1110  # Pi: frequency capped, throttled, soft temperature limit, now. Under-voltage alone slows nothing.
_HEATED = 0b1100
_JUMP_S, _FAST_S, _SLOW_S = 3.0, 10.0, 20.0  # time constants


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One pipeline since the last look.

    windows_per_s   that came, also those that were not worked off
    late            share of its results that came after the deadline
    p95_ms          95th percentile of the time from message to result; None: there was no result
    waiting         messages in its queue
    """

    windows_per_s: float
    late: float = 0.0
    p95_ms: float | None = None
    waiting: int = 0


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The board at one moment. None: it does not say.

    `throttled` is the Pi's word; `clock_ratio` the processor's clock by its highest.
    """

    mono_ns: int
    available_mib: float | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    clock_ratio: float | None = None
    pipelines: Mapping[str, Seen]


class Smoothed:
    """A value that follows what is measured with a time constant in seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at_ns = 0
        self.value: float | None = None

    def take(self, value: float, mono_ns: int, seconds: float | None = None) -> float:
        """Follow `value`, once with another time constant where one is given; the first is taken as it is."""
        if self.value is None:
            self.value = value
        else:
            part = 1 - math.exp(-max(0, mono_ns - self._at_ns) / NS / (seconds or self._seconds))
            self.value += part * (value - self.value)
        self._at_ns = mono_ns
        return self.value

    def said_within(self, seconds: float, mono_ns: int) -> bool:
        """Say whether something was measured in the last so many seconds."""
        return self.value is not None and mono_ns - self._at_ns < seconds * NS


def running_options(demands: Sequence[Demand], running: Mapping[str, str]) -> dict[str, Option]:
    """Give the option that each pipeline runs; a pipeline that runs none of its options is left out."""
    return {demand.pipeline: option for demand in demands for option in demand.options if running.get(demand.pipeline) == option.variant}


def kept_mib(reserve_mib: float) -> float:
    """Give what stays available of a board's reserve, in MiB."""
    return max(LEAST_KEPT_MIB, KEPT_OF_RESERVE * reserve_mib)


class Pressure:
    """Follows a board. `observed` is the last look, `urgent`: memory is nearly out."""

    def __init__(self, thermal: Thermal, reserve_mib: float) -> None:
        self._thermal = thermal
        self.kept_mib = kept_mib(reserve_mib)
        self.observed = Observed(mono_ns=0, pipelines={})
        self.urgent = False
        self.hot = False
        self.slow = 1.0
        self.late: dict[str, float] = {}  # by pipeline: how much longer its results take than its running option says
        self.heat_is_ours = True
        self.aside: frozenset[str] = frozenset()  # pipelines that the others go on without, within what these leave
        self._aside = 0.0, 0.0  # MiB, and ms of processor time a second, that they take
        self._room = Smoothed(_FAST_S)
        self._heat = Smoothed(_FAST_S)
        self._slow = Smoothed(_FAST_S)
        self._rates: dict[str, Smoothed] = {}
        self._lates: dict[str, Smoothed] = {}
        self._changed_ns: dict[str, int] = {}
        self._cap: float | None = None  # ms of processor time a second that heat leaves to models
        self._cap_ns = 0

    def take(self, observed: Observed, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> None:
        """Follow what was observed while `running` ran."""
        self.observed = observed
        options = running_options(demands, running)
        for name in options:
            self._changed_ns.setdefault(name, observed.mono_ns)  # a broker may have kept messages while nothing ran
        self._take_memory(options)
        self._take_rates()
        self._take_lateness(demands, options)
        self._take_heat(demands, limits, options)

    def changed(self, pipelines: Sequence[str], mono_ns: int) -> None:
        """Forget what belonged to the variants that these pipelines ran until now."""
        for name in pipelines:
            self._changed_ns[name] = mono_ns
            self._lates.pop(name, None)
            self.late.pop(name, None)

    def squeezed(self, demands: Sequence[Demand], limits: Limits, *, margin: bool) -> tuple[list[Demand], Limits]:
        """Give demands and limits as they are under pressure; with the margin that a new choice is to keep, or without."""
        rate_by = MARGIN_RATE if margin else 1.0
        return [self._squeezed(demand, rate_by) for demand in demands], self._limits(limits, MARGIN_MIB if margin else 0.0)

    def rest(self, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> tuple[list[Demand], Limits]:
        """Give the demands of all that are not set aside, and what the others leave of the limits."""
        options = running_options(demands, running)
        aside = [each for each in demands if each.pipeline in self.aside]
        mib = sum(options[each.pipeline].mib for each in aside)
        ms = sum(min(1000 * limits.share, options[each.pipeline].ms * self._rate(each)) * options[each.pipeline].threads for each in aside)
        self._aside = mib, ms
        memory, workers = limits.memory_mib - mib, limits.workers - ms / (1000 * limits.share)
        left = replace(limits, memory_mib=max(0.0, memory), workers=max(0.0, workers))
        return [each for each in demands if each.pipeline not in self.aside], left

    def _squeezed(self, demand: Demand, rate_by: float) -> Demand:
        late = self.late.get(demand.pipeline, 1.0) * self.slow
        options = demand.options
        if late > 1.0:
            options = tuple(replace(each, ms=each.ms * self.slow, worst_ms=each.worst_ms * late) for each in options)
        return replace(demand, windows_per_s=self._rate(demand) * rate_by, options=options)

    def _limits(self, limits: Limits, margin_mib: float) -> Limits:
        memory, workers = limits.memory_mib, limits.workers
        mib, ms = self._aside if self.aside else (0.0, 0.0)
        if self._room.value is not None:
            memory = min(memory, max(0.0, self._room.value - self.kept_mib - margin_mib - mib))
        if self._cap is not None:
            workers = min(workers, max(0.0, self._cap - ms) * self.slow / (1000 * limits.share))
        return replace(limits, memory_mib=memory, workers=workers)

    def _rate(self, demand: Demand) -> float:
        smoothed = self._rates.get(demand.pipeline)
        return demand.windows_per_s if smoothed is None or smoothed.value is None else smoothed.value

    def _take_memory(self, options: Mapping[str, Option]) -> None:
        """Follow what models could have in all, so that a change of theirs is no change of it."""
        available = self.observed.available_mib
        self.urgent = available is not None and available < self.kept_mib / 2
        if available is None:
            return
        if self.urgent:
            self._room = Smoothed(_FAST_S)  # now, not in some seconds
        self._room.take(available + sum(option.mib for option in options.values()), self.observed.mono_ns)

    def _take_rates(self) -> None:
        seen = self.observed.pipelines
        self._rates = {name: self._rates.get(name) or Smoothed(_SLOW_S) for name in seen}
        for name, each in seen.items():
            smoothed, now = self._rates[name], self.observed.mono_ns
            # A jump that chance does not explain is followed at once, so that one change is enough.
            expected = (smoothed.value or 0.0) * _SLOW_S
            jumped = each.windows_per_s * _SLOW_S - expected > 6 * math.sqrt(expected + 1)  # 3 sigma of a count of 5 s
            smoothed.take(each.windows_per_s, now, _JUMP_S if jumped else None)

    def _take_lateness(self, demands: Sequence[Demand], options: Mapping[str, Option]) -> None:
        now = self.observed.mono_ns
        self.late = {}
        for demand in demands:
            name, seen = demand.pipeline, self.observed.pipelines.get(demand.pipeline)
            if seen is None or name not in options or now - self._changed_ns[name] < DRAIN_S * NS:
                continue
            if self._lates.setdefault(name, Smoothed(_FAST_S)).take(seen.late, now) > LATE:
                took = max(seen.p95_ms or 0.0, 1.1 * demand.deadline_ms)
                self.late[name] = max(1.0, took / max(options[name].worst_ms, 0.001))

    def _take_heat(self, demands: Sequence[Demand], limits: Limits, options: Mapping[str, Option]) -> None:
        observed, word = self.observed, self.observed.throttled or 0
        below = math.inf  # degrees below the temperature where it slows down
        if observed.temperature_c is not None:
            below = self._thermal.throttle_c - self._heat.take(observed.temperature_c, observed.mono_ns)
        silent = observed.temperature_c is None and self._heat.said_within(SILENT_S, observed.mono_ns)
        self.hot = below <= NEAR_C or bool(word & _HEATED)
        self.slow = self._slow.take(self._slow_now(bool(word & _CAPPED)), observed.mono_ns)
        used = sum(
            options[each.pipeline].ms * options[each.pipeline].threads * self._rate(each) for each in demands if each.pipeline in options
        )
        self._take_cap(used, limits, cool=below > COOL_C and not word & _HEATED, silent=silent)

    def _slow_now(self, capped: bool) -> float:
        """Give how much longer everything takes. A low clock alone says nothing: a board that has little to do saves power."""
        if not (capped or self.hot):
            return 1.0
        ratio = self.observed.clock_ratio
        by_clock = 1 / min(1.0, max(0.2, ratio)) if ratio is not None else 1.0
        return max(by_clock, THROTTLED_SLOW if capped else 1.0)

    def _take_cap(self, used: float, limits: Limits, *, cool: bool, silent: bool) -> None:
        now = self.observed.mono_ns
        self.heat_is_ours = used > OURS * 1000 * limits.workers
        obeyed = self._cap is not None and used <= self._cap
        if self.hot and self.heat_is_ours and (self._cap is None or (obeyed and now - self._cap_ns >= COOLING_S * NS)):
            self._cap, self._cap_ns = COOLER * used, now
        elif not silent and (cool or not (self.hot or obeyed)):
            self._cap = None
