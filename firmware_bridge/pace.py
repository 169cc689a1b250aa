"""How many ticks pass from reading to reading: what a sensor's rate truly is, whatever its data sheet says."""

from __future__ import annotations

_MEMORY = 2000  # readings: the period is a mean over about so many, or over so many blocks:
_MEMORY_BLOCKS = 50
_ROUNDING = 1.5  # ticks: what two of them may be off by, and a little more
_FINE = 20  # ticks: a rate that was measured over less is no better than the nominal one
_FARTHEST = 4.0  # a true rate this many times the nominal one is none
_UNLIKE = 8  # after so many blocks in a row that do not fit, all is learned anew


class Pace:
    """The measured period, in ticks, and how well blocks keep to it; begins with the nominal one."""

    def __init__(self, nominal: float) -> None:
        self._nominal = nominal
        self._begin()

    def _begin(self) -> None:
        self.period = self._nominal
        self._readings = round(_FINE / self._nominal)
        self._blocks = 0
        self._scatter = 0.0  # how far the ticks of a block are from the period, in readings
        self._unlike = 0

    def misses(self, ticks: float, count: int) -> bool:
        """Say whether more readings than `count` were taken in so many ticks."""
        return ticks / self.period - count > self._tolerance(count)

    def learn(self, ticks: int, count: int) -> None:
        """Take the ticks that passed from the last reading of one block to that of the next, of `count` readings."""
        off = abs(ticks / self.period - count)
        tolerance = self._tolerance(count)
        if off > tolerance:
            self._unlike += 1
            if self._unlike >= _UNLIKE:
                self._begin()
            return
        self._unlike = 0
        self._blocks += 1
        if self._blocks > 4:
            self._scatter += (off - self._scatter) / 32
        self._readings = min(self._readings + count, max(_MEMORY, _MEMORY_BLOCKS * count))
        period = self.period + (ticks - count * self.period) / self._readings
        self.period = min(max(period, self._nominal / _FARTHEST), self._nominal * _FARTHEST)

    def _tolerance(self, count: int) -> float:
        """Half a reading, once the rate is known; more where ticks are long, or are taken at odd times."""
        return max(0.5, _ROUNDING / self.period, 6 * self._scatter) + count * (0.005 + 0.3 / (1 + self._blocks))
