"""What the kernel says of a process over time: memory, open files, threads; and the line through it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import numpy as np

from bench.parties import pss_mib

WARM_UP = 0.25  # of the time, at the beginning, says nothing of growth


@dataclass
class Course:
    """Samples of one process, for as long as it is the same."""

    pid: int
    seconds: list[float] = field(default_factory=list)
    pss_mib: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def sample(self) -> None:
        """Look now."""
        self.seconds.append(time.monotonic())
        self.pss_mib.append(pss_mib(self.pid))
        self.files.append(len(os.listdir(f"/proc/{self.pid}/fd")))
        self.threads.append(len(os.listdir(f"/proc/{self.pid}/task")))

    @property
    def warm(self) -> slice:
        """Give the samples after the warm-up."""
        begin = self.seconds[0] + WARM_UP * self.duration_s
        return slice(int(np.searchsorted(self.seconds, begin)), None)

    @property
    def duration_s(self) -> float:
        """Give the time from the first sample to the last."""
        return self.seconds[-1] - self.seconds[0]

    @property
    def slope(self) -> float:
        """Give the growth of memory after the warm-up, MiB an hour, by a straight line of least squares."""
        seconds = np.array(self.seconds[self.warm])
        return float(np.polyfit(seconds - seconds[0], self.pss_mib[self.warm], 1)[0] * 3600)

    @property
    def growth_mib(self) -> float:
        """Give what that line rises after the warm-up."""
        return self.slope * (1 - WARM_UP) * self.duration_s / 3600
