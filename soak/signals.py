"""What the sensors of a scenario say, and what a result about it must say.

A signal is one pipeline's kind of stream. Reading `i` of a stream has the event time
START_MS + i / rate and a value that follows from `i` and the key alone. So the place of every
result in its stream, and with the model of `tests.releases.twice` its output too, is known
without keeping what was sent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.daemon import on_topic, pipeline
from tests.releases import twice

START_MS = 1_795_351_772_000
_SHIFT = 7  # by so many readings the streams of a signal differ

Values = NDArray[np.float32]


def counting() -> Values:
    """Give 997 values of one channel that a result writes without rounding."""
    return np.arange(997, dtype=np.float32)[:, None]


@dataclass(frozen=True, eq=False)
class Signal:
    """Streams 0 … keys − 1 of the pipeline `name`.

    `sizes`: readings a message may have, drawn anew for each. `hop` 0: a message is one input.
    `cycle` [n, channels] are the values, again and again. Without a `release` it is `twice`.
    `bad_every`: each such message is not of the layout, and must be rejected.
    """

    name: str
    keys: int
    samples: int
    hop: int
    sizes: tuple[int, ...]
    rate_hz: float = 10.0
    event_time: bool = True
    qos: int = 1
    bad_every: int = 0
    release: Path | None = None
    cycle: Values = field(default_factory=counting)

    @property
    def step(self) -> int:
        """Give the readings from one window to the next."""
        return self.hop or self.samples

    @property
    def grain(self) -> int:
        """Give the largest number of readings that every window's beginning is a multiple of, wherever a restart fell."""
        return math.gcd(self.step, *self.sizes)

    @property
    def spans(self) -> bool:
        """Say whether windows reach over the borders of messages, so that a crash may cost the unfinished ones."""
        return bool(self.samples != self.step or any(size % self.samples for size in self.sizes))

    def topic(self, key: int) -> str:
        """Give the topic of one stream."""
        return f"soak/{self.name}/{key}"

    def table(self, models: Path, broker: str = "main", more: str = "") -> str:
        """Write its `[[pipelines]]`, with `more` keys; a model of its own is made below `models`."""
        channels = self.cycle.shape[1]
        release = self.release or twice(models / self.name, channels, self.samples, self.hop, self.rate_hz)
        names = [f"c{i}" for i in range(channels)]
        layout = ("<q" if self.event_time else "<") + "f" * channels
        time = ', time = "ts"' if self.event_time else ""
        decoder = f'{{ type = "packed", layout = "{layout}", channels = {names}{time} }}'
        source = on_topic(f"soak/{self.name}/{{key}}", f', qos = {self.qos}, broker = "{broker}"')
        return pipeline(self.name, source, decoder=decoder, model=release, more=more)

    def payload(self, key: int, first: int, count: int) -> bytes:
        """Give the message with the readings `first` … `first + count − 1`."""
        index = np.arange(first, first + count)
        values = self.cycle[(index + key * _SHIFT) % len(self.cycle)]
        if not self.event_time:
            return bytes(values.tobytes())
        rows = np.empty(count, np.dtype([("ts", "<i8"), ("values", "<f4", values.shape[1:])]))
        rows["ts"] = START_MS + (index * 1000 / self.rate_hz).astype(np.int64)
        rows["values"] = values
        return bytes(rows.tobytes())

    def output(self, key: int, first: int) -> dict[str, object] | None:
        """Give the output of the window that begins with reading `first`; None where only the model knows."""
        if self.release is not None:
            return None
        index = np.arange(first, first + self.samples) + key * _SHIFT
        return {"values": (2.0 * self.cycle[index % len(self.cycle)].ravel()).tolist()}

    def reading_at(self, time_ms: int) -> int:
        """Give the number of the reading with an event time."""
        return round((time_ms - START_MS) * self.rate_hz / 1000)
