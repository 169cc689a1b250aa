"""How the board feels: memory left, heat, and whether the processor is slowed down. A few small files, read at each look."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from edged.board import commands
from edged.board.commands import Run
from edged.board.heat import temperature_c
from edged.board.memory import available_mib
from edged.board.throttle import SLOWED, ask_program, throttle_word
from edged.board.tree import Tree
from edged.clock import NS, Clock, SystemClock

ASK_EVERY_S = 10  # a program that is started for one number
RECENT = 6  # looks in which a processor with work to do shows at least once how fast it may run

_POLICIES = "sys/devices/system/cpu/cpufreq/policy*"


@dataclass(frozen=True, kw_only=True)
class Felt:
    """One look; None is what the board does not say.

    available_mib  memory that new programs can have without swapping, in the container or service that we are in
    temperature_c  the hottest zone
    throttled      the Raspberry Pi's throttle word, see `edged/board/throttle.py`
    clock_ratio    what part of its rate the processor may reach: 1, or less while heat or voltage slow it down
    stalled_pct    part of the last ten seconds in which some process waited for memory, in percent
    """

    available_mib: float | None
    temperature_c: float | None
    throttled: int | None
    clock_ratio: float | None
    stalled_pct: float | None


class Sensors:
    """The sensors of the board whose files are under `root`. `run` asks a program, where no file says it."""

    def __init__(self, root: Path = Path("/"), run: Run = commands.run, clock: Clock | None = None) -> None:
        self._tree = Tree(root)
        self._run = run
        self._clock = clock or SystemClock()
        self._asked: tuple[int, int | None] | None = None
        self._highest: dict[Path, int] = {}
        self._present: dict[Path, deque[int]] = {}

    def read(self) -> Felt:
        """Look once; cheap enough for every second."""
        throttled = self._throttled()
        return Felt(
            available_mib=available_mib(self._tree.root),
            temperature_c=temperature_c(self._tree.root),
            throttled=throttled,
            clock_ratio=self._clock_ratio(bool(throttled and throttled & SLOWED)),
            stalled_pct=_stalled(self._tree),
        )

    def _throttled(self) -> int | None:
        word = throttle_word(self._tree)
        if word is not None:
            return word
        now = self._clock.mono()
        if self._asked is None or now - self._asked[0] >= ASK_EVERY_S * NS:
            self._asked = now, ask_program(self._tree, self._run)
        return self._asked[1]

    def _clock_ratio(self, slowed: bool) -> float | None:
        """Hold what the kernel allows now against the most it has allowed so far, for the slowest kind of core.

        The present rate falls whenever there is little to do. Only while the firmware slows the processor down, which
        the kernel is not told, the highest of the last few counts. What a power mode forbids for good is no slow-down.
        """
        ratios = []
        for policy in self._tree.find(_POLICIES):
            allowed = self._tree.number(policy / "scaling_max_freq")
            if not allowed or allowed < 0:
                continue
            self._highest[policy] = highest = max(allowed, self._highest.get(policy, 0))
            present = self._present.setdefault(policy, deque(maxlen=RECENT))
            if not slowed:
                present.clear()
            elif (rate := self._tree.number(policy / "scaling_cur_freq")) and rate > 0:
                present.append(rate)
            ratios.append(min(allowed, max(present, default=allowed)) / highest)
        return min(ratios, default=None)


def _stalled(tree: Tree) -> float | None:
    """Read `some avg10=0.00 avg60=…` of the kernel's pressure file."""
    for line in tree.lines("proc/pressure/memory"):
        kind, _, rest = line.partition(" avg10=")
        if kind == "some":
            try:
                return float(rest.split()[0])
            except (ValueError, IndexError):
                return None
    return None
