"""What lacks of a stream, of what was published, and which of it a kill explains.

A whole window lies in one message: it must come. A window that spans messages may lack where
a kill fell into it, and nowhere else. After a kill the daemon begins a stream anew with the
first message that it had not acknowledged, so the windows that came tell where that was:

    … [a, a + samples)   uncovered readings   [c, c + samples) …

Every uncovered reading was acknowledged before a kill, and `c` was computed after it. One
kill leaves fewer than `samples` readings behind the last complete window, so `c` is at most
a + hop + (samples − 1); each further kill before the next complete window allows samples − 1
more. A hole that no kill between the publishing of its readings and the arrival of the window
at `c` explains is a loss. A kill explains one hole of a stream.

Of a stream without event time only the number of its results is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from soak.ledger import Track
from soak.publisher import Publisher, Sent


@dataclass(frozen=True)
class Kill:
    """The time that a kill took, monotonic seconds: it fell somewhere in it."""

    began: float
    ended: float


@dataclass(frozen=True)
class Hole:
    """No window came that begins after reading `after` and before `next`; `arrival` is when that at `next` came."""

    after: int
    next: int
    arrival: float


@dataclass
class Lack:
    """What never came of one stream, in words; how many windows or holes that are, and how many holes kills explain."""

    texts: list[str] = field(default_factory=list)
    count: int = 0
    explained: int = 0


def lack_of(track: Track, sent: Sent, kills: Sequence[Kill]) -> Lack:
    """Hold the windows that came of a stream against its readings."""
    signal = track.signal
    if not signal.event_time:
        whole = sent.readings // signal.samples
        lost = max(0, whole - track.results)
        return Lack([f"{track}: {lost:,} of {whole:,} results"] if lost else [], lost)
    if signal.spans:
        holes = holes_of(track, sent.readings)
        losses = unexplained(holes, track, sent, kills)
        texts = [f"{track}: windows between those at reading {hole.after} and {hole.next}" for hole in losses]
        return Lack(texts, len(losses), len(holes) - len(losses))
    firsts = missing(track, sent.readings)
    return Lack([f"{track}: {run}" for run in in_runs(firsts, signal.step)], len(firsts))


def missing(track: Track, readings: int) -> list[int]:
    """Give the first readings of the windows that lack, of a stream whose messages hold whole windows."""
    signal = track.signal
    return [first for first in range(0, readings - signal.samples + 1, signal.step) if not track.arrival(first)]


def in_runs(firsts: Sequence[int], step: int) -> list[str]:
    """Write the first readings of windows, those that follow each other as one."""
    begins = [i for i, first in enumerate(firsts) if i == 0 or first != firsts[i - 1] + step]
    runs = [firsts[begin:end] for begin, end in zip(begins, [*begins[1:], len(firsts)])]
    return [
        f"{len(run):,} windows at readings {run[0]} to {run[-1]}" if len(run) > 1 else f"the window at reading {run[0]}" for run in runs
    ]


def holes_of(track: Track, readings: int) -> list[Hole]:
    """Give where windows lack in a stream whose windows span messages."""
    signal = track.signal
    before = -signal.step
    holes: list[Hole] = []
    for first in track.starts():
        if first > before + signal.step:
            holes.append(Hole(before, first, track.arrival(first)))
        before = first
    end = readings - signal.samples + 1  # a window that began here could not be complete
    if end > before + signal.step:
        holes.append(Hole(before, end, math.inf))
    return holes


def unexplained(holes: Sequence[Hole], track: Track, sent: Sent, kills: Sequence[Kill]) -> list[Hole]:
    """Give the holes that no kills explain; each kill is used once, the earliest that fits."""
    signal = track.signal
    losses = []
    left = list(kills)
    for hole in holes:
        needed = math.ceil((hole.next - hole.after - signal.step) / (signal.samples - 1))
        begun, published = sent.published_at(hole.after + signal.step), sent.published_at(hole.next - 1)
        fitting = [kill for kill in left if begun < kill.ended and kill.began < hole.arrival]
        last = next((i for i, kill in enumerate(fitting) if i >= needed - 1 and published < kill.ended), None)
        if last is None:
            losses.append(hole)
        else:
            left = [kill for kill in left if kill.began > fitting[last].began]
    return losses


def last_came(track: Track, publisher: Publisher) -> bool:
    """Say whether the last window of a stream has come, which is the sign that nothing more of it is on its way."""
    signal, readings = track.signal, publisher.sent[track.signal.name][track.key].readings
    if readings < signal.samples:
        return True
    if not signal.event_time:
        return track.results >= readings // signal.samples
    # Where a restart moved the windows of a stream that spans messages, its last one begins up to a step earlier.
    last = (readings - signal.samples) // signal.grain * signal.grain
    return any(track.arrival(first) for first in range(last, max(-1, last - signal.step), -signal.grain))
