"""When the choice of variants is made anew while they run: smaller under pressure, back up when there has been room for long.

A look, every few seconds, finds one of three things:

    pressure   what runs does not keep the limits that the board's state leaves
    room       it keeps them with a margin, and so would variants of another quality, which are the better choice
    calm       neither

and the table below says what follows. Pressure has to last PRESS_S, unless memory is nearly out; room has to last the
dwell of every pipeline that would change. A way up that had to be taken back within PROOF_S doubles its pipelines' dwell.
A pipeline that misses its own deadline, or its part of a worker, whatever it runs, is set aside: the others go on as if it
were not there, within what it leaves.
Nothing here looks at a clock, starts or stops anything: a `Step` is what the caller is to do, and it says what came of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edged.clock import NS
from edged.errors import BugError
from edged.select.choose import choose
from edged.select.feasible import HEAT, MEMORY, RELIEF, broken, could_rise, describe, in_limits, misses_alone, moved
from edged.select.pressure import Observed, Pressure, Seen, running_options
from edged.select.quality import known
from edged.select.terms import Demand, Limits

if TYPE_CHECKING:
    from edged.board.profile import Thermal

__all__ = ["Adaptation", "Observed", "Seen", "Step"]

LOOK_S = 5
PRESS_S = 10
SETTLE_S = 20  # after a change: memory is given back, queues drain
SEEK_S = 60  # between two searches for a way up
DWELL_S = 300
LONGEST_DWELL_S = 6 * 3600
PROOF_S = 3600
RETRY_S = 600  # a variant that did not load is left alone, twice as long each time

STEADY, PRESSED, ROOMY, CHANGING, SETTLING = "steady", "pressed", "roomy", "changing", "settling"
CALM, PRESSURE, ROOM, URGENT = "calm", "pressure", "room", "urgent"  # what a look finds
STEPPED, MADE, FAILED, SETTLED = "stepped", "made", "failed", "settled"  # what is done

TABLE: dict[tuple[str, str], str] = {
    **{(state, CALM): STEADY for state in (STEADY, PRESSED, ROOMY)},
    **{(state, found): PRESSED for state in (STEADY, PRESSED, ROOMY) for found in (PRESSURE, URGENT)},
    **{(state, ROOM): ROOMY for state in (STEADY, PRESSED, ROOMY)},
    **{(state, STEPPED): CHANGING for state in (PRESSED, ROOMY)},
    **{(CHANGING, found): CHANGING for found in (CALM, PRESSURE, ROOM, URGENT)},
    **{(CHANGING, end): SETTLING for end in (MADE, FAILED)},
    **{(SETTLING, found): SETTLING for found in (CALM, PRESSURE, ROOM)},
    (SETTLING, URGENT): PRESSED,
    (SETTLING, SETTLED): STEADY,
}


@dataclass(frozen=True)
class Step:
    """A change to make: the new variant of each pipeline that changes, the cause as a code, and a sentence for people.

    Causes: memory-pressure, heat, throttled, deadline-misses, rate-rose, relief.
    """

    variants: Mapping[str, str]
    cause: str
    text: str


class Adaptation:
    """Follows one board. `stuck` says which pressure no smaller variant can relieve; empty: none."""

    def __init__(self, thermal: Thermal, reserve_mib: float) -> None:
        """Take the profile's temperatures, and what it keeps from models, in MiB."""
        self._pressure = Pressure(thermal, reserve_mib)
        self._since_ns = 0  # of the state
        self._changed_ns = 0
        self._raised_ns: dict[str, int] = {}  # pipelines that went up, and have still to show that it was right
        self._dwell_s: dict[str, int] = {}
        self._up: dict[str, str] = {}  # the way up that was found last
        self._sought_ns: int | None = None
        self._retried_ns = 0  # for those that are set aside
        self._resigned = ""  # why they are
        self._barred: dict[tuple[str, str], tuple[int, int]] = {}  # by pipeline and variant: until when, for how many seconds
        self.state = STEADY
        self.stuck = ""

    def look(self, observed: Observed, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> Step | None:
        """Take in what the board shows while `running` (variant by pipeline) runs; give the change to make, if any.

        `demands` and `limits` are those of a board at ease. Pipelines that run none of their options are left alone. After a
        step none is given until `after` was called.
        """
        now = observed.mono_ns
        present = running_options(demands, running)
        demands = [self._allowed(demand, now, running) for demand in demands if demand.pipeline in present]
        self._pressure.take(observed, demands, limits, running)
        self._forgive(now)
        self._take_back(demands, limits, running)
        demands, limits = self._pressure.rest(demands, limits, running)
        if self.state == SETTLING and now - self._since_ns >= SETTLE_S * NS:
            self._go(SETTLED, now)
        causes = broken(self._pressure, demands, limits, running)
        if causes:
            return self._pressed(causes[0], demands, limits, running)
        self.stuck = self._helpless()
        return self._at_ease(demands, limits, running)

    @property
    def is_undisturbed(self) -> bool:
        """Say whether the board neither is slowed down nor has next to no memory: what is measured then is what it takes at ease."""
        return not (self._pressure.hot or self._pressure.urgent or self._pressure.slow > 1.01)

    def after(self, step: Step, mono_ns: int, failed: Collection[str] = ()) -> None:
        """Say that a step was made, but for the pipelines of `failed`, which run as before."""
        made = [name for name in step.variants if name not in failed]
        self._go(MADE if made else FAILED, mono_ns)
        self._changed_ns = mono_ns
        self._up, self.stuck = {}, self._helpless()
        self._bar({name: step.variants[name] for name in failed}, mono_ns)
        self._pressure.changed(made, mono_ns)
        for name in made:
            if step.cause == RELIEF:
                self._raised_ns[name] = mono_ns
            elif self._raised_ns.pop(name, None) is not None:
                self._dwell_s[name] = min(LONGEST_DWELL_S, 2 * self._dwell_s.get(name, DWELL_S))

    def _pressed(self, cause: str, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> Step | None:
        now, urgent = self._pressure.observed.mono_ns, self._pressure.urgent and cause == MEMORY
        self._go(URGENT if urgent else PRESSURE, now)
        if self.state != PRESSED or not (urgent or now - self._since_ns >= PRESS_S * NS) or (self.stuck and not self._seek(now)):
            return None
        wanted = in_limits(*self._pressure.squeezed(demands, limits, margin=True), running, cause)
        changes = moved(running, wanted)
        why = describe(cause, self._pressure, limits)
        self.stuck = "" if changes else f"{why}; no smaller variant is left"
        if not changes and cause != MEMORY:
            self._pressure.aside, self._resigned = misses_alone(self._pressure, demands, limits, running), self.stuck
        return self._step(changes, cause, why, running) if changes else None

    def _at_ease(self, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> Step | None:
        now = self._pressure.observed.mono_ns
        if self.state == CHANGING:
            self._up = {}
        elif self._up or self._is_due(now):
            if broken(self._pressure, demands, limits, running, margin=True):
                self._up = {}
            elif self._seek(now):
                self._up = self._way_up(demands, limits, running)
        self._go(ROOM if self._up else CALM, now)
        dwell_ns = max((self._dwell_s.get(name, DWELL_S) for name in self._up), default=0) * NS
        if self.state != ROOMY or now - max(self._since_ns, self._changed_ns) < dwell_ns:
            return None
        changes = self._way_up(demands, limits, running)  # what was found some looks ago may not be so any more
        return self._step(changes, RELIEF, f"there has been room for {dwell_ns // NS} s", running) if changes else None

    def _seek(self, now: int) -> bool:
        """Say whether it is time for another choice where there is no hurry: it costs a small board some of its time."""
        due = self._is_due(now)
        self._sought_ns = now if due else self._sought_ns
        return due

    def _is_due(self, now: int) -> bool:
        return self._sought_ns is None or now - self._sought_ns >= SEEK_S * NS

    def _way_up(self, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> dict[str, str]:
        """Give the changes of a better choice. One that only saves time is not worth a change of what runs well."""
        present = running_options(demands, running)
        if not any(could_rise(demand, present[demand.pipeline]) for demand in demands):
            return {}
        chosen = choose(*self._pressure.squeezed(demands, limits, margin=True)).chosen
        if None in chosen.values():  # what it runs could not be chosen again, and nobody takes its place
            return {}
        better = any(option and known(option) != known(present[name]) for name, option in chosen.items())
        return moved(running, {name: option.variant for name, option in chosen.items() if option}) if better else {}

    def _step(self, changes: Mapping[str, str], cause: str, why: str, running: Mapping[str, str]) -> Step:
        self._go(STEPPED, self._pressure.observed.mono_ns)
        ways = ", ".join(f"{name} from {running[name]} to {variant}" for name, variant in sorted(changes.items()))
        return Step(changes, cause, f"{why}: {ways}")

    def _go(self, event: str, now: int) -> None:
        if (self.state, event) not in TABLE:
            raise BugError("no-such-transition", f"adaptation in state {self.state} cannot take {event}")
        state = TABLE[self.state, event]
        if state != self.state:
            self.state, self._since_ns = state, now

    def _allowed(self, demand: Demand, now: int, running: Mapping[str, str]) -> Demand:
        """Refuse the variants that failed to load lately."""
        barred = {variant for (name, variant), (until, _) in self._barred.items() if name == demand.pipeline and now < until}
        barred.discard(running[demand.pipeline])
        if not barred:
            return demand
        options = (replace(each, refused="load: it failed a while ago") if each.variant in barred else each for each in demand.options)
        return replace(demand, options=tuple(options))

    def _bar(self, ways: Mapping[str, str], now: int) -> None:
        for way in ways.items():
            seconds = min(LONGEST_DWELL_S, 2 * self._barred.get(way, (0, RETRY_S // 2))[1])
            self._barred[way] = now + seconds * NS, seconds

    def _take_back(self, demands: Sequence[Demand], limits: Limits, running: Mapping[str, str]) -> None:
        """Take back those that were set aside and miss nothing now, and all where memory is short, or something would help them."""
        aside, pressure, now = self._pressure.aside, self._pressure, self._pressure.observed.mono_ns
        if not aside:
            return
        pressure.aside = frozenset()
        missing = aside & misses_alone(pressure, demands, limits, running)
        causes = broken(pressure, demands, limits, running)
        if not missing or MEMORY in causes:
            return
        if now - self._retried_ns >= SEEK_S * NS:
            self._retried_ns = now
            if moved(running, in_limits(*pressure.squeezed(demands, limits, margin=True), running, causes[0])):
                return
        pressure.aside = missing

    def _forgive(self, now: int) -> None:
        """Go back to the usual dwell where a way up has lasted."""
        for name in [name for name, since in self._raised_ns.items() if now - since >= PROOF_S * NS]:
            del self._raised_ns[name]
            self._dwell_s.pop(name, None)

    def _helpless(self) -> str:
        if self._pressure.aside:
            return self._resigned
        if self._pressure.hot and not self._pressure.heat_is_ours:
            return f"{HEAT}: {self._pressure.observed.temperature_c} °C, and models take next to no processor time"
        return ""
