"""What came at the subscriber, window by window: nothing is kept of a result but a fingerprint and a time.

So a run of hours, with millions of results, fits in memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import lru_cache

import msgspec

from soak.signals import Signal


class Place(msgspec.Struct):
    """The window of a result."""

    start: str
    end: str
    samples: int


class Seen(msgspec.Struct):
    """What is read of a result."""

    id: str
    pipeline: str
    key: str
    window: Place
    output: msgspec.Raw
    clock: str = ""


class Track:
    """The windows of one stream, by the number of their first reading."""

    def __init__(self, signal: Signal, key: int) -> None:
        self.signal = signal
        self.key = key
        self.results = 0  # all that came
        self.windows = 0  # those that came for the first time
        self.wrong: list[str] = []
        self.disorder: list[str] = []
        self._marks = array("Q")
        self._times = array("d")
        self._newest = -1

    def note(self, seen: Seen, now: float) -> None:
        """Take one result; `now` is monotonic time in seconds."""
        self.results += 1
        if seen.clock:  # by arrival: nothing says which window it is
            self.windows += 1
            return
        first = self.signal.reading_at(_ms(seen.window.start))
        last = self.signal.reading_at(_ms(seen.window.end))
        place, rest = divmod(first, self.signal.grain)
        if rest or first < 0 or last - first + 1 != self.signal.samples:
            self.wrong.append(f"{self}: a window from reading {first} to {last}, id {seen.id}")
            return
        self._grow(place + 1)
        mark = _mark(seen)
        if not self._marks[place]:
            self._first(seen, place, first, mark, now)
        elif self._marks[place] != mark:
            self.wrong.append(f"{self}: the window at reading {first} came again with another id or output, id {seen.id}")

    def arrival(self, first: int) -> float:
        """Give when the window that begins with reading `first` came first; 0 where it never did."""
        place, rest = divmod(first, self.signal.grain)
        return self._times[place] if not rest and place < len(self._times) else 0.0

    def starts(self) -> Iterator[int]:
        """Give the first readings of all windows that came, in their order in the stream."""
        grain = self.signal.grain
        return (place * grain for place, mark in enumerate(self._marks) if mark)

    def marks(self) -> list[int]:
        """Give the fingerprints of all windows that came."""
        return [mark for mark in self._marks if mark]

    def _first(self, seen: Seen, place: int, first: int, mark: int, now: float) -> None:
        self.windows += 1
        self._marks[place], self._times[place] = mark, now
        if first < self._newest:
            self.disorder.append(f"{self}: the window at reading {first} came after the one at {self._newest}")
        self._newest = max(self._newest, first)
        right = self.signal.output(self.key, first)
        if right is not None and msgspec.json.decode(seen.output) != right:
            self.wrong.append(f"{self}: the window at reading {first} says {bytes(seen.output)[:80]!r}, id {seen.id}")

    def _grow(self, size: int) -> None:
        more = size - len(self._marks)
        if more > 0:
            self._marks.extend([0] * more)
            self._times.extend([0.0] * more)

    def __str__(self) -> str:
        return f"{self.signal.name}/{self.key}"


class Ledger:
    """The tracks of all streams of some signals. Filled by one thread, read by another."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        self.tracks = {(signal.name, f"key={key}"): Track(signal, key) for signal in signals for key in range(signal.keys)}
        self.strays: list[str] = []

    def note(self, payload: bytes, now: float) -> None:
        """Take one result as it came from the broker."""
        seen = _decode(payload)
        track = self.tracks.get((seen.pipeline, seen.key))
        if track is None:
            self.strays.append(f"a result of {seen.pipeline} {seen.key}, id {seen.id}")
        else:
            track.note(seen, now)

    @property
    def results(self) -> int:
        """Count all that came."""
        return sum(track.results for track in self.tracks.values())

    @property
    def windows(self) -> int:
        """Count what came for the first time."""
        return sum(track.windows for track in self.tracks.values())


_decode = msgspec.json.Decoder(Seen).decode


def _mark(seen: Seen) -> int:
    digest = hashlib.blake2b(seen.id.encode() + b"\x00" + bytes(seen.output), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


def _ms(time: str) -> int:
    """Read `2026-11-22T04:12:21.123Z`, in milliseconds since 1970."""
    return _minute(time[:16]) + int(time[17:19]) * 1000 + int(time[20:23])


@lru_cache(maxsize=4096)
def _minute(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M").replace(tzinfo=timezone.utc).timestamp()) * 1000
