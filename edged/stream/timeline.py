"""What event time says of a stream: late and duplicate readings, gaps.

The rules, for one stream, where `period` is 1 / rate_hz:

- A reading with the time of the last one is a duplicate, an earlier one is late: both are
  dropped and counted. After `patience` late readings in a row the sensor's clock is taken to
  have been set back: the unfinished window is let go and time begins anew. Messages that a broker
  sends again do not count for that.
- A step of more than 1.5 periods is a gap. `void` lets the unfinished window go; `hold`
  repeats the last reading and `interpolate` draws a line to the next one, at most one
  window's worth: a longer gap is void.

Without event time there is nothing to judge. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.clock import NS
from edged.records import DUPLICATE, LATE

NEVER = np.iinfo(np.int64).min


@dataclass(slots=True)
class Piece:
    """Readings that follow each other; `begin_anew` when the unfinished window before them is void."""

    values: NDArray[np.float32]
    times: NDArray[np.int64]
    begin_anew: bool
    filled: int = 0


class Mark(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a later run needs of one stream's time.

    last       time of the last reading, NEVER before the first
    late_run   late readings in a row since then
    value      the last reading, float32 little-endian, where a gap may have to be filled from it
    """

    last: Annotated[int, msgspec.Meta(ge=NEVER, le=np.iinfo(np.int64).max)]
    late_run: Annotated[int, msgspec.Meta(ge=0)]
    value: bytes


class Timeline:
    """The last event time of every stream of a pipeline, by slot."""

    def __init__(self, rate_hz: float, gap: str, patience: int) -> None:
        self._period = int(NS / rate_hz) if rate_hz else 0
        self._limit = self._period * 3 // 2 if rate_hz else np.iinfo(np.int64).max
        self.again = False  # what comes may have come before: late readings say nothing of the sensor's clock
        self._gap = gap
        self._patience = patience
        self._last = np.zeros(0, np.int64)
        self._late_run: dict[int, int] = {}
        self._last_value: dict[int, NDArray[np.float32]] = {}
        self._rejected: dict[str, int] = {}

    def reset(self, slot: int) -> None:
        """Forget a slot's time."""
        if slot >= len(self._last):
            more = max(8, len(self._last), slot + 1 - len(self._last))
            self._last = np.concatenate((self._last, np.full(more, NEVER, np.int64)))
        self._last[slot] = NEVER
        self._late_run.pop(slot, None)
        self._last_value.pop(slot, None)

    def dump(self, slot: int) -> Mark:
        """Give what a later run needs to go on with a slot."""
        value = self._last_value.get(slot)
        return Mark(int(self._last[slot]), self._late_run.get(slot, 0), b"" if value is None else value.astype("<f4").tobytes())

    def restore(self, slot: int, mark: Mark, channels: int) -> None:
        """Go on with what `dump` gave, in a slot that was reset; ValueError where it does not fit streams of so many channels."""
        value = np.frombuffer(mark.value, "<f4").astype(np.float32)
        if len(value) not in ((0,) if self._gap == "void" else (0, channels)) or not np.isfinite(value).all():
            raise ValueError("a last reading that does not fit")
        if mark.late_run > self._patience:
            raise ValueError("more late readings than are waited for")
        self._last[slot] = mark.last
        if mark.late_run:
            self._late_run[slot] = mark.late_run
        if len(value):
            self._last_value[slot] = value

    def take_over(self, slot: int, mark: Mark, newest: NDArray[np.float32]) -> None:
        """Go on after another timeline's `mark`, whatever its rules were; `newest` [0 or 1, channels] is the reading it was made at."""
        self._last[slot] = mark.last
        self.remember([slot], newest)
        if mark.late_run:
            self._late_run[slot] = min(mark.late_run, self._patience)

    def in_order(self, slots: NDArray[np.intp], times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say for one reading of each of several streams whether it simply follows; those that do are noted."""
        last = self._last[slots]
        step = times - last
        fits = (last == NEVER) | ((step > 0) & (step <= self._limit))
        self._last[slots[fits]] = times[fits]
        if self._late_run:
            for slot in slots[fits].tolist():
                self._late_run.pop(slot, None)
        return fits

    def run_in_order(self, slot: int, times: NDArray[np.int64]) -> bool:
        """Say whether readings of one stream simply follow; if so they are noted."""
        first, last = int(times[0]), int(self._last[slot])
        if last != NEVER and not 0 < first - last <= self._limit:
            return False
        if len(times) > 1:
            step = np.diff(times)
            if step.min() <= 0 or step.max() > self._limit:
                return False
        self._last[slot] = times[-1]
        self._late_run.pop(slot, None)
        return True

    def remember(self, slots: Iterable[int], newest: NDArray[np.float32]) -> None:
        """Keep the newest reading of each stream, where a gap may have to be filled from it."""
        if self._gap != "void":
            self._last_value.update((int(slot), value.copy()) for slot, value in zip(slots, newest))

    def take_rejected(self) -> dict[str, int]:
        """Give what was dropped since the last call, by reason."""
        taken, self._rejected = self._rejected, {}
        return taken

    def pieces(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64]) -> Iterator[Piece]:
        """Apply the rules to readings that do not simply follow."""
        begin = 0
        anew = False
        for i, time in enumerate(times.tolist()):
            step = time - int(self._last[slot]) if self._last[slot] != NEVER else 1
            if 0 < step <= self._limit:
                self._last[slot] = time
                self._late_run.pop(slot, None)
                continue
            if i > begin:
                yield self._piece(slot, values[begin:i], times[begin:i], anew)
                anew = False
            begin = i
            if step <= 0 and not self._clock_was_set_back(slot):
                self._count(DUPLICATE if step == 0 else LATE)
                begin = i + 1
                continue
            filling = self._fill(slot, values[i], time) if step > 0 else None
            if filling is not None:
                yield filling
            else:
                anew = True
            self._last[slot] = time
            self._late_run.pop(slot, None)
        if begin < len(values):
            yield self._piece(slot, values[begin:], times[begin:], anew)

    def _piece(self, slot: int, values: NDArray[np.float32], times: NDArray[np.int64], anew: bool) -> Piece:
        self.remember([slot], values[-1:])
        return Piece(values, times, anew)

    def _clock_was_set_back(self, slot: int) -> bool:
        if self.again:
            return False
        run = self._late_run.get(slot, 0) + 1
        self._late_run[slot] = run
        if run <= self._patience:
            return False
        del self._late_run[slot]
        return True

    def _fill(self, slot: int, value: NDArray[np.float32], time: int) -> Piece | None:
        """Make the readings that lack before `value`; None where the gap is void."""
        before = self._last_value.get(slot)
        last = int(self._last[slot])
        missing = round((time - last) / self._period) - 1
        if self._gap == "void" or before is None or not 0 < missing <= self._patience:
            return None
        values = np.repeat(before[None], missing, axis=0)
        if self._gap == "interpolate":
            share = (np.arange(1, missing + 1) / (missing + 1))[:, None]
            # In float64: the difference of two large readings is beyond float32.
            values = before + share * (value - before.astype(np.float64))
        times = last + (np.arange(1, missing + 1) * ((time - last) / (missing + 1))).astype(np.int64)
        return Piece(values.astype(np.float32, copy=False), times, False, filled=missing)

    def _count(self, reason: str) -> None:
        self._rejected[reason] = self._rejected.get(reason, 0) + 1
