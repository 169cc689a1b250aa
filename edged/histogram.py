"""Latencies in a fixed logarithmic histogram, and rates from counters that rise.

A histogram has 128 buckets, four an octave, from 2**-10 ms (about 1 us) to 2**22 ms (about
70 min): 1 KiB whatever is recorded. A percentile is off by at most `RELATIVE_ERROR`
(8.7 %) of the value that was recorded at that rank; a value below the first bucket counts
as the first, one above the last as the last.

One thread records. Any other may read or rotate meanwhile: it then misses at most what is
being recorded at that moment.
"""

from __future__ import annotations

from collections import deque
from math import log2

from edged.clock import NS

BUCKETS = 128
_PER_OCTAVE = 4
_FLOOR_OCTAVE = -10
LOWEST_MS = 2.0**_FLOOR_OCTAVE
HIGHEST_MS = LOWEST_MS * 2 ** (BUCKETS // _PER_OCTAVE)

_STEP = 2 ** (1 / _PER_OCTAVE)
_OFFSET = -_FLOOR_OCTAVE * _PER_OCTAVE
# The harmonic mean of a bucket's two bounds is equally wrong, relatively, for both.
_VALUES = [LOWEST_MS * _STEP**i * 2 * _STEP / (1 + _STEP) for i in range(BUCKETS)]
RELATIVE_ERROR = (_STEP - 1) / (_STEP + 1)
# The logarithm of a float just below the highest rounds up, out of the last bucket.
_TOP = HIGHEST_MS * (1 - 1e-9)


class Histogram:
    """Counts of milliseconds by magnitude."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS

    def record(self, ms: float) -> None:
        """Count one duration. Negative and NaN count as the shortest."""
        if ms >= _TOP:
            self._counts[-1] += 1
        elif ms > LOWEST_MS:
            self._counts[int(log2(ms) * _PER_OCTAVE + _OFFSET)] += 1
        else:
            self._counts[0] += 1

    def record_many(self, ms: float, n: int) -> None:
        """Count `n` durations of the same length."""
        if ms >= _TOP:
            self._counts[-1] += n
        elif ms > LOWEST_MS:
            self._counts[int(log2(ms) * _PER_OCTAVE + _OFFSET)] += n
        else:
            self._counts[0] += n

    def merge(self, other: Histogram) -> None:
        """Add what `other` counted."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts)]

    def count(self) -> int:
        """Give how many were recorded."""
        return sum(self._counts)

    def percentile(self, q: float) -> float | None:
        """Give the milliseconds that the share `q` (0 to 1) does not exceed; None while nothing is recorded."""
        counts = self._counts.copy()
        rank = max(1.0, q * sum(counts))
        seen = 0
        for value, n in zip(_VALUES, counts):
            seen += n
            if n and seen >= rank:
                return value
        return None


class RecentHistogram:
    """The last one to two minutes of a duration: the minute under way and the one before it."""

    __slots__ = ("_before", "_now", "_started")

    def __init__(self, mono_ns: int) -> None:
        self._started = mono_ns
        self._now = Histogram()
        self._before = Histogram()

    def record(self, ms: float) -> None:
        """Count one duration, see `Histogram.record`."""
        self._now.record(ms)

    def record_many(self, ms: float, n: int) -> None:
        """Count `n` durations of the same length."""
        self._now.record_many(ms, n)

    def rotate(self, mono_ns: int) -> None:
        """Let go of what is too old; call it now and then with the monotonic time."""
        minutes = (mono_ns - self._started) // _MINUTE
        if minutes < 1:
            return
        self._before = self._now if minutes == 1 else Histogram()
        self._now = Histogram()
        self._started += minutes * _MINUTE

    def recent(self) -> Histogram:
        """Give a copy of what is remembered."""
        both = Histogram()
        both.merge(self._before)
        both.merge(self._now)
        return both


class RateMeter:
    """How fast a counter rises, per second over the last ten: sampled by a tick, free on the hot path."""

    __slots__ = ("_samples",)

    def __init__(self, mono_ns: int, total: int = 0) -> None:
        self._samples = deque([(mono_ns, total)])

    def observe(self, total: int, mono_ns: int) -> None:
        """Note that the counter stands at `total`; samples nearer than half a second are skipped."""
        if mono_ns - self._samples[-1][0] < _NEAREST:
            return
        self._samples.append((mono_ns, total))
        while len(self._samples) > 2 and self._samples[1][0] <= mono_ns - _SPAN:
            self._samples.popleft()

    def rate(self) -> float:
        """Give the counts per second between the oldest and the newest sample kept; 0 with one sample."""
        (start, before), (end, now) = self._samples[0], self._samples[-1]
        return (now - before) * NS / (end - start) if end > start else 0.0


_MINUTE = 60 * NS
_NEAREST = NS // 2
_SPAN = 10 * NS
