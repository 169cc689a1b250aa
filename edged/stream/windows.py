"""Cut windows out of many streams: readings in, windows out, no Python object per reading.

All streams of a pipeline share one table. Each has a slot: a row of a preallocated array
that is filled from left to right; when it is full, the readings still needed slide to the
front. So every window is one contiguous piece, and a reading is moved about once.

    values  float32 [slots, 2 × samples, channels]
    times   int64   [slots, 2 × samples], nanoseconds

The first window of a stream is complete after `samples` readings, the next ones each `hop`
readings later. The table grows by doubling; who gets a slot is decided elsewhere.

A stream may have had windows before it came here: from the table of an earlier run (`restore`)
or an earlier release (`take_over`). Places before its first reading then have the time NOTHING.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

# Windows that go through the model together. Windows that overlap take many times the memory of
# their message; and a batch that goes on should show that it does.
CUT_WINDOWS = 64
_FIRST_SLOTS = 8
NOTHING = np.iinfo(np.int64).min  # the time of a place in which no reading was


@dataclass(slots=True)
class Cuts:
    """Windows that became complete, in the order of the readings that completed them.

    windows  float32 [k, samples, channels], a copy: the caller may keep it; or k texts as objects
    slots    intp [k]
    start    int64 [k], time of the first reading of each window; `end` of the last
    """

    windows: NDArray[Any]
    slots: NDArray[np.intp]
    start: NDArray[np.int64]
    end: NDArray[np.int64]

    def parts(self, most: int) -> Iterator[Cuts]:
        """Give the same windows in pieces of at most `most`."""
        for first in range(0, len(self.slots), most):
            part = slice(first, first + most)
            yield Cuts(self.windows[part], self.slots[part], self.start[part], self.end[part])


class Tail(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a later run needs of one stream's unfinished window.

    need            readings until the next window is complete
    cut             whether the stream had a window before
    values, times   its last readings, as far as that window needs them: float32 and int64, little-endian
    covered         how many of them windows of an earlier release covered, where this one had none yet
    """

    need: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    cut: bool
    values: bytes
    times: bytes
    covered: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass(slots=True)
class Held:
    """What a table still holds of one stream: readings that follow each other, oldest first.

    values     float32 [n, channels], a view
    times      int64 [n], a view
    last_end   index after the last reading of the stream's last window; None where it had none.
               Negative where later readings are gone too: hops longer than windows skip them.
    """

    values: NDArray[np.float32]
    times: NDArray[np.int64]
    last_end: int | None

    @property
    def covered(self) -> int:
        """Count the readings that windows covered."""
        return max(0, self.last_end or 0)


def slot_bytes(samples: int, channels: int) -> int:
    """Give the memory of one stream's slot, in bytes."""
    return 2 * samples * (4 * channels + 8)


class WindowTable:
    """The unfinished windows of all streams of one pipeline. Used by one thread."""

    def __init__(self, samples: int, hop: int, channels: int) -> None:
        self.samples = samples
        self.hop = hop
        self.channels = channels
        self._capacity = 2 * samples
        self._values = np.empty((0, self._capacity, channels), np.float32)
        self._times = np.empty((0, self._capacity), np.int64)
        self._position = np.zeros(0, np.intp)  # where the next reading goes
        self._need = np.zeros(0, np.intp)  # readings until the next window is complete
        self._covered = np.zeros(0, np.intp)  # readings before the first window that an earlier release's windows covered

    def reset(self, slot: int) -> int:
        """Begin a slot anew; give the number of readings that were in no window yet."""
        self._grow(slot + 1)
        lost = self.unfinished(slot)
        self._position[slot] = 0
        self._need[slot] = self.samples
        self._covered[slot] = 0
        return lost

    def unfinished(self, slot: int) -> int:
        """Count the readings of a slot that were in no window yet."""
        position = int(self._position[slot])
        return position - int(self._covered[slot]) if position < self.samples else self.hop - int(self._need[slot])

    def all_unfinished(self) -> int:
        """Count the readings of all slots that were in no window yet."""
        # `need` first: where the table grows just now, there are as many of the others, or more.
        need = self._need
        position, covered = self._position[: len(need)], self._covered[: len(need)]
        return int(np.where(position < self.samples, position - covered, self.hop - need).sum())

    def dump(self, slot: int) -> Tail:
        """Give what a later run needs to go on with a slot."""
        need, position = int(self._need[slot]), int(self._position[slot])
        tail = slice(position - max(0, self.samples - need), position)
        values, times = self._values[slot, tail].astype("<f4"), self._times[slot, tail].astype("<i8")
        cut = position >= self.samples
        return Tail(need, cut, values.tobytes(), times.tobytes(), 0 if cut else int(self._covered[slot]))

    def restore(self, slot: int, tail: Tail) -> None:
        """Go on with what `dump` gave, in a slot that was reset; ValueError where it is no tail of this table's windows."""
        values, times = np.frombuffer(tail.values, "<f4"), np.frombuffer(tail.times, "<i8")
        count = max(0, self.samples - tail.need)
        if tail.need > (self.hop if tail.cut else self.samples) or len(times) != count or len(values) != count * self.channels:
            raise ValueError("an unfinished window of another size")
        if not np.isfinite(values).all():
            raise ValueError("a reading that is not finite")
        if tail.covered > (0 if tail.cut else count):
            raise ValueError("more readings in earlier windows than there are")
        self._place(slot, values.reshape(count, self.channels), times, tail.cut)
        self._need[slot] = tail.need
        self._covered[slot] = tail.covered

    def held(self, slot: int) -> Held:
        """Give what is held of a slot; views, so only until the next reading."""
        position, lost = int(self._position[slot]), self.unfinished(slot)
        begin = int(np.count_nonzero(self._times[slot, :position] == NOTHING))
        had_one = position >= self.samples or self._covered[slot] > 0
        values, times = self._values[slot, begin:position], self._times[slot, begin:position]
        return Held(values, times, position - begin - lost if had_one else None)

    def take_over(self, slot: int, history: Held) -> None:
        """Go on, in a slot that was reset, after the windows of another table: `history` is what they covered, to be seen again.

        The next window is complete `hop` readings after the last one's end, but not before it has `samples` readings.
        """
        if history.last_end is None:
            return
        count = len(history.values)
        next_end = history.last_end + self.hop
        if next_end > self.samples:
            kept = min(count, self.samples)
            self._place(slot, history.values[count - kept :], history.times[count - kept :], True)
            self._need[slot] = next_end - count
        else:
            self._place(slot, history.values, history.times, False)
            self._need[slot] = self.samples - count
            self._covered[slot] = count

    def _place(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64], cut: bool) -> None:
        """Put readings into a slot that was reset. With `cut` a window stands there too: nobody needs it again, but it counts as there."""
        position, count = self.samples if cut else len(times), len(times)
        self._times[slot, : position - count] = NOTHING
        self._values[slot, position - count : position] = values
        self._times[slot, position - count : position] = times
        self._position[slot] = position

    def push_run(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64]) -> Cuts | None:
        """Append readings [n, channels] of one stream, n >= 1; give the windows they complete."""
        n, position = len(values), int(self._position[slot])
        if position + n > self._capacity:
            position = self._slide(slot)
        if position + n > self._capacity:
            return self._push_long(slot, values, times)
        end = position + n
        self._values[slot, position:end] = values
        self._times[slot, position:end] = times
        self._position[slot] = end
        need = int(self._need[slot])
        if n < need:
            self._need[slot] = need - n
            return None
        return self._cut(slot, self._values[slot], self._times[slot], position, n)

    def push_each(self, slots: NDArray[np.intp], values: NDArray[np.float32], times: NDArray[np.int64]) -> Cuts | None:
        """Append one reading to each of several different streams: row i to `slots[i]`."""
        position = self._position[slots]
        if position.max() == self._capacity:
            for slot in slots[position == self._capacity]:
                self._slide(int(slot))
            position = self._position[slots]
        self._values[slots, position] = values
        self._times[slots, position] = times
        self._position[slots] = position + 1
        need = self._need[slots] - 1
        self._need[slots] = need
        if need.min() > 0:
            return None
        ready = need == 0
        slots, end = slots[ready], position[ready] + 1
        self._need[slots] = self.hop
        rows = (end - self.samples)[:, None] + np.arange(self.samples)
        windows = self._values[slots[:, None], rows]
        return Cuts(windows, slots, self._times[slots, end - self.samples], self._times[slots, end - 1])

    def _push_long(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64]) -> Cuts | None:
        """Append more readings than the slot has room for: cut from a copy, keep the tail."""
        kept, n = int(self._position[slot]), len(values)
        all_values = np.concatenate((self._values[slot, :kept], values))
        all_times = np.concatenate((self._times[slot, :kept], times))
        need = int(self._need[slot])
        cuts = self._cut(slot, all_values, all_times, kept, n) if n >= need else None
        if cuts is None:
            self._need[slot] = need - n
        tail = min(self.samples, kept + n)
        self._values[slot, :tail] = all_values[-tail:]
        self._times[slot, :tail] = all_times[-tail:]
        self._position[slot] = tail
        return cuts

    def _cut(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64], old: int, n: int) -> Cuts:
        """Copy the windows that `n` readings after the first `old` ones complete; at least one is complete."""
        need, samples, hop = int(self._need[slot]), self.samples, self.hop
        count, over = divmod(n - need, hop)
        self._need[slot] = hop - over
        first = old + need - samples
        if count == 0:
            windows = values[first : first + samples].copy()[np.newaxis]
        else:
            rows = (first + hop * np.arange(count + 1))[:, None] + np.arange(samples)
            windows = values[rows]
        starts = times[first : first + hop * count + 1 : hop].copy()
        ends = times[first + samples - 1 : first + samples + hop * count : hop].copy()
        return Cuts(windows, np.full(count + 1, slot, np.intp), starts, ends)

    def _slide(self, slot: int) -> int:
        """Move the readings that a later window still needs to the front; give where the next goes."""
        position = int(self._position[slot])
        keep = min(position, self.samples)
        self._values[slot, :keep] = self._values[slot, position - keep : position]
        self._times[slot, :keep] = self._times[slot, position - keep : position]
        self._position[slot] = keep
        return keep

    def _grow(self, slots: int) -> None:
        have = len(self._position)
        if slots <= have:
            return
        more = max(_FIRST_SLOTS, have, slots - have)
        self._values = np.concatenate((self._values, np.empty((more, self._capacity, self.channels), np.float32)))
        self._times = np.concatenate((self._times, np.empty((more, self._capacity), np.int64)))
        self._position = np.concatenate((self._position, np.zeros(more, np.intp)))
        self._covered = np.concatenate((self._covered, np.zeros(more, np.intp)))
        self._need = np.concatenate((self._need, np.full(more, self.samples, np.intp)))
