"""Take the streams of a pipeline over from the release that ran to the one that shall run: no reading lost, no window twice.

Readings that windows covered are a stream's history: the next window is complete `hop` of its
new readings after the last one's end, or as soon as `samples` of them are there, and may see
history again. Readings that no window covered yet come after it as if they came just now, so
that some windows may be due at once. Times are judged by the new release's rate and gap rule.
What was late before is late afterwards.

Readings of a serial line have the model's channels: another release's are found among them by name. Where it takes one
that was not kept, unfinished windows are let go, and counted.

The old assembly stays as it is: where something fails, it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.stream.assembly import LET_GO, Assembly
from edged.stream.carried import RELEASE_CHANGED
from edged.stream.counters import Counters
from edged.stream.timeline import Mark, Timeline
from edged.stream.windows import Held


@dataclass(frozen=True, slots=True)
class Waiting:
    """The readings of one stream that no window covered yet, and its time mark after them."""

    slot: int
    values: NDArray[np.float32]
    times: NDArray[np.int64]
    mark: Mark


def take_over(new: Assembly, old: Assembly, same: bool, counters: Counters) -> list[Waiting]:
    """Let `new`, which has no streams, go on with the streams of `old`; give the readings that shall be pushed through it.

    With `same` both are of one release (two variants, say): smoothing and alarms go on too.
    Counts the readings of streams for which there is no room, and those that whole-message
    inputs have no use for.
    """
    slots = new.streams.take_over(old.streams, same)
    if same and new.given.stateful:  # what the graph remembered ended with its engine
        for stream in new.streams.streams:
            stream.state.gap()
    columns = _columns(new.channels, old.channels)
    left = set(range(len(old.streams.streams))).difference(slots)
    counters.drop(LET_GO, sum(map(old.windows.unfinished, left)))
    waiting: list[Waiting] = []
    for slot, before in reversed(list(enumerate(slots))):  # the last first: the tables grow once
        new.windows.reset(slot)
        new.timeline.reset(slot)
        held, mark = old.windows.held(before), old.timeline.dump(before)
        if new.given.kind == "tensor" or columns is None:
            counters.drop(RELEASE_CHANGED, old.windows.unfinished(before))
            held = Held(np.empty((0, len(new.channels)), np.float32), held.times[:0], None)
        elif new.channels != old.channels:
            held = Held(held.values[:, columns], held.times, held.last_end)
        covered = held.covered
        _see_history(new, slot, held)
        if covered < len(held.values):
            waiting.append(Waiting(slot, held.values[covered:], held.times[covered:], mark))
        else:
            new.timeline.take_over(slot, mark, held.values[-1:])
    return waiting[::-1]


def settle(new: Assembly, waiting: Waiting) -> None:
    """Set a stream's time mark, after its readings were pushed through."""
    new.timeline.take_over(waiting.slot, waiting.mark, waiting.values[-1:])


def _columns(wanted: list[str], kept: list[str]) -> list[int] | None:
    """Give where the channels of one table are in another; None where one is in none, or where only their order is another.

    A firmware whose names are none of the model's has its channels taken in their order: then names say nothing of a new order.
    """
    if wanted == kept:
        return list(range(len(kept)))
    return [kept.index(name) for name in wanted] if set(wanted) < set(kept) else None


def _see_history(new: Assembly, slot: int, held: Held) -> None:
    """Put what windows covered into the new table, as its own rules have it."""
    if held.last_end is None:
        return
    history = Held(held.values[: held.covered], held.times[: held.covered], held.last_end)
    if new.event_time and held.covered and not new.timeline.run_in_order(slot, history.times):
        history = _judged(new.timeline, slot, history)
    new.timeline.remember([slot], history.values[-1:])
    new.windows.take_over(slot, history)


def _judged(timeline: Timeline, slot: int, history: Held) -> Held:
    """Apply gap rules to history: fill what they fill, forget what lies before a gap they do not fill."""
    values, times = [history.values[:0]], [history.times[:0]]
    for piece in timeline.pieces(slot, history.values, history.times):
        if piece.begin_anew:
            values, times = [], []
        values.append(piece.values)
        times.append(piece.times)
    filled = np.concatenate(values), np.concatenate(times)
    return Held(*filled, len(filled[1]))
