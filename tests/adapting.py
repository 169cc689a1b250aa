"""A simulated board for the tests of adaptation: memory that can run out, heat that follows load, a clock that slows, rates with noise.

It moves in steps of five seconds under its own time. The daemon's part is played as the daemon plays it: a step is made
some seconds after it was asked for, and then reported.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from edged.board.profile import Thermal
from edged.clock import NS
from edged.select.adapt import LOOK_S, Adaptation, Observed, Seen, Step
from edged.select.terms import Demand, Limits, Option

THERMAL = Thermal(throttle_c=80, limit_c=85)
HOUR, DAY = 3600, 86_400


def option(variant: str, quality: float | None, ms: float, mib: float) -> Option:
    return Option(variant=variant, engine="tflite", quality=quality, ms=ms, worst_ms=1.5 * ms, mib=mib, predicted_ms=ms, predicted_mib=mib)


def demand(pipeline: str, rate: float, *options: Option, class_: str = "normal", deadline_ms: float = 100.0) -> Demand:
    return Demand(pipeline=pipeline, model=pipeline, release=1, class_=class_, deadline_ms=deadline_ms, windows_per_s=rate, options=options)


DEMANDS = [
    demand("pump", 20, option("float", 0.95, 12, 300), option("int8", 0.93, 4, 90), option("tiny", 0.85, 1, 20), class_="safety"),
    demand("vib", 40, option("float", 0.97, 10, 250), option("int8", 0.96, 3, 70)),
    demand("sound", 10, option("large", 0.90, 40, 400), option("small", 0.80, 8, 60), class_="background", deadline_ms=500),
]
LIMITS = Limits(memory_mib=1200, workers=3)
BEST = {"pump": "float", "vib": "float", "sound": "large"}
RESERVE_MIB = 512.0


@dataclass
class Board:
    """A board with 1,800 MiB of which the system takes 350.

    `others_mib`, `ambient_c` and `rate_by` give by the second what other programs take, the air's temperature, and how many
    times the usual rate comes; `noise` is the relative standard deviation of what is read.
    """

    seed: int = 0
    others_mib: Callable[[float], float] = lambda _s: 0.0
    ambient_c: Callable[[float], float] = lambda _s: 20.0
    rate_by: Callable[[float], float] = lambda _s: 1.0
    noise: float = 0.0
    total_mib: float = 1800.0
    system_mib: float = 350.0
    demands: list[Demand] = field(default_factory=lambda: list(DEMANDS))
    limits: Limits = LIMITS
    running: dict[str, str] = field(default_factory=lambda: dict(BEST))
    change_s: int = 5
    adaptive: bool = True

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.adaptation = Adaptation(THERMAL, RESERVE_MIB)
        self.second = 0
        self.temperature = 55.0
        self.ran_out = False
        self.steps: list[tuple[int, Step]] = []
        self._pending: tuple[int, Step] | None = None
        # What a variant really takes is not what was predicted of it.
        self._truth = {(each.pipeline, o.variant): self.random.uniform(0.9, 1.1) for each in self.demands for o in each.options}

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(int(seconds) // LOOK_S):
            self.second += LOOK_S
            self._make_pending()
            observed = self._observe()
            step = self.adaptation.look(observed, self.demands, self.limits, self.running) if self.adaptive else None
            if step:
                self.steps.append((self.second, step))
                self._pending = self.second + self.change_s, step

    def run_until(self, done: Callable[[], bool], at_most_s: int) -> int:
        """Let time pass until something holds; give the seconds it took."""
        start = self.second
        while not done():
            assert self.second - start < at_most_s, f"it did not happen within {at_most_s} s: {self.running}"
            self.run(LOOK_S)
        return self.second - start

    @property
    def causes(self) -> list[str]:
        return [step.cause for _, step in self.steps]

    def available_mib(self) -> float:
        models = sum(o.mib * self._truth[name, o.variant] for name, o in self._options().items())
        return self.total_mib - self.system_mib - self.others_mib(self.second) - models

    def _make_pending(self) -> None:
        if self._pending and self.second >= self._pending[0]:
            self.running |= self._pending[1].variants
            self.adaptation.after(self._pending[1], self.second * NS)
            self._pending = None

    def _options(self) -> dict[str, Option]:
        return {each.pipeline: o for each in self.demands for o in each.options if self.running[each.pipeline] == o.variant}

    def _observe(self) -> Observed:
        slow = self._slow()
        options = self._options()
        rates = {each.pipeline: self._noisy(each.windows_per_s * self.rate_by(self.second)) for each in self.demands}
        load = min(1.0, sum(options[name].ms * rate * slow for name, rate in rates.items()) / 1000 / self.limits.workers)
        # A board follows its load within minutes: a little above 50 K between idle and all processors busy.
        self.temperature += (self.ambient_c(self.second) + 20 + 55 * load - self.temperature) * (1 - math.exp(-LOOK_S / 180))
        available = self.available_mib()
        self.ran_out |= available < 0
        return Observed(
            mono_ns=self.second * NS,
            available_mib=max(0.0, available + self.random.gauss(0, 200 * self.noise)),
            temperature_c=round(self.temperature + self.random.gauss(0, 20 * self.noise)),
            throttled=0xE000E if slow > 1 else 0,
            clock_ratio=1 / slow if load > 0.2 else 0.4,
            pipelines={each.pipeline: self._seen(each, options[each.pipeline], rates[each.pipeline], slow, load) for each in self.demands},
        )

    def _seen(self, each: Demand, o: Option, rate: float, slow: float, load: float) -> Seen:
        own = min(0.98, o.ms * rate * slow / 1000)
        p95 = o.worst_ms * slow / (1 - own)
        return Seen(windows_per_s=rate, late=0.5 if p95 > each.deadline_ms else 0.0, p95_ms=p95)

    def _slow(self) -> float:
        """Progressive, as the firmware of a Pi does it: from 80 °C on, to 0.6 of the clock at 85 °C."""
        return 1 / max(0.6, 1 - 0.08 * max(0.0, self.temperature - 80))

    def _noisy(self, value: float) -> float:
        return max(0.0, value * self.random.gauss(1, self.noise))
