"""When messages come and which of them complete windows: made from rates, or from what was recorded. Input of the simulation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

JITTER = 0.1  # of the time between two messages of a stream, as standard deviation


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message: seconds since the start, a number for its stream, how many windows it completes."""

    at_s: float
    stream: int
    windows: int


class Cutter:
    """Counts windows as the daemon cuts them: the first after `samples` readings of a stream, then one each `hop`.

    Without `hop` each message is one input. Gaps and late readings are not looked at.
    """

    def __init__(self, samples: int, hop: int) -> None:
        self._samples, self._hop = samples, hop
        self._missing: dict[int, int] = {}  # readings until the next window, by stream

    def begin(self, stream: int, missing: int) -> None:
        """Let a stream begin amid a window, of which so many readings are missing."""
        self._missing[stream] = missing

    def windows(self, stream: int, readings: int) -> int:
        """Give how many windows a message with so many readings completes."""
        if not self._hop:
            return 1
        missing = self._missing.get(stream, self._samples) - readings
        complete = 0 if missing > 0 else 1 + -missing // self._hop
        self._missing[stream] = missing + complete * self._hop
        return complete


def steady(rate: float, streams: int, samples: int, hop: int, seconds: float, rng: Random) -> list[Arrival]:
    """Make the messages of so many streams, each with `rate` messages a second of one reading, in order.

    Streams begin at random moments and amid windows, as they do on a board that has run for a while.
    """
    cutter = Cutter(samples, hop)
    arrivals = []
    for stream in range(streams):
        if hop:
            cutter.begin(stream, rng.randint(1, hop))
        at = rng.random() / rate
        while at < seconds:
            arrivals.append(Arrival(at, stream, cutter.windows(stream, 1)))
            at += max(0.0, rng.gauss(1, JITTER)) / rate
    return sorted(arrivals, key=lambda each: each.at_s)


def recorded(messages: Iterable[tuple[float, str, int]], samples: int, hop: int, seconds: float) -> list[Arrival]:
    """Make the arrivals of recorded messages: (seconds since the start, stream key, readings), in order."""
    cutter = Cutter(samples, hop)
    streams: dict[str, int] = {}
    arrivals = []
    for at, key, readings in messages:
        if at >= seconds:
            break
        stream = streams.setdefault(key, len(streams))
        arrivals.append(Arrival(at, stream, cutter.windows(stream, readings) if readings else 0))
    return arrivals
