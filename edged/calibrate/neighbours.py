"""What else the processor did while a board was measured: a neighbour's work makes its numbers too low."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from edged.board.sensors import Felt
from edged.board.throttle import SLOWED
from edged.board.tree import Tree

_QUIET_CORES = 0.25  # what a system does at rest
_STAT = "proc/stat"
_COLUMNS = (1, 2, 3, 6, 7, 8)  # user, nice, system, irq, softirq, and what a host took; not idle, not waiting for a disk


class Neighbours:
    """Counts, from here on, how many cores' time others used; our own children count as us once they have ended."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._since, self._others = time.monotonic(), self._others_s()

    def cores(self) -> float:
        """Give how many cores others kept busy since; 0 where the kernel does not say."""
        now, others = time.monotonic(), self._others_s()
        if self._others is None or others is None:
            return 0.0
        return max(0.0, others - self._others) / max(1e-3, now - self._since)

    def _others_s(self) -> float | None:
        words = (self._tree.lines(_STAT) or [""])[0].split()
        if words[:1] != ["cpu"] or not all(word.isdecimal() and len(word) < 20 for word in words[1:]) or len(words) <= max(_COLUMNS):
            return None
        ours = os.times()
        busy = sum(int(words[i]) for i in _COLUMNS) / os.sysconf("SC_CLK_TCK")
        return busy - (ours.user + ours.system + ours.children_user + ours.children_system)


def disturbances(others: float, cores: int, before: Felt, after: Felt) -> Iterator[str]:
    """Say in words what may have spoiled a measurement, from the cores that others used and how the board felt; nothing: it was quiet."""
    if others > _QUIET_CORES:
        yield f"other programs used {others:.1f} of {cores} cores"
    if any(felt.throttled and felt.throttled & SLOWED for felt in (before, after)):
        yield "the firmware slowed the processor down, for heat or for lack of voltage"
