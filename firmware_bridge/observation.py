"""What somebody with a new sensor wants to see of a serial line: what comes, how much, and what is wrong with it.

Bytes in, what happened out, bytes to send back, and at any time a `Seen` with everything counted so far. No I/O and no clock:
times are nanoseconds that only rise, given by the caller. Frames and lines are both looked for, so that a wrong choice shows.
Nothing is sent before frames come: a sketch may take bytes for commands.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from firmware_bridge.framing import Guess
from firmware_bridge.lately import LastSecond, Rate, Spread
from firmware_bridge.lines import LineReader
from firmware_bridge.link import BoardLink, Came, EventCame, HelloCame, SamplesCame, TextCame
from firmware_bridge.messages import Hello
from firmware_bridge.sketch import Sketch

_S = 1_000_000_000
_DAMAGE = ("bad-stuffing", "too-short", "too-long", "bad-crc")
_TYPECODES = {"int16": "h", "int32": "i", "float32": "f"}
_SHOWN_BYTES = 16
_LOST_NS = 3 * _S  # garbled for so long after something whole came, it is found out anew what comes
_LOOK_NS = _S // 10


@dataclass(slots=True, frozen=True)
class PrintCame:
    """A line that is no reading: a debug print, or a header."""

    text: str


Happened = HelloCame | TextCame | EventCame | PrintCame


@dataclass(slots=True, frozen=True)
class ChannelSeen:
    """A channel's last value, and the least, mean and greatest of the last second, in its unit; NaN where there is none."""

    name: str
    unit: str
    last: float
    low: float
    mean: float
    high: float


@dataclass(slots=True, frozen=True)
class Seen:
    """Everything about a line at one moment. Counts are since the start, rates are those of the last seconds, by arrival.

    `framing` is as asked for, with `auto` by what comes; `comes` is what comes, whatever was asked for; both are "" as long as
    nobody knows. `received` counts bytes. `damage_rate` and `loss_rate` are frames a second that come damaged, and that are
    missing. `rate_hz` is the readings' rate by the firmware's ticks, in our seconds, `drift_ppm` how much faster that runs than ours,
    `accuracy_ms` how far off the times of readings may be; None before they are known. `silent_s` is how long nothing came,
    `pause_s` the last such pause of a second or more that ended. `garbled`: bytes come, but nothing whole; `newest` are the
    last of them.
    """

    framing: str
    comes: str
    received: int
    frames: int
    lines: int
    readings: int
    byte_rate: float
    reading_rate: float
    damage_rate: float
    loss_rate: float
    rate_hz: float | None
    drift_ppm: float | None
    accuracy_ms: float | None
    hello: Hello | None
    sketch: Sketch
    channels: tuple[ChannelSeen, ...]
    counts: dict[str, int]
    two_senders: bool
    silent_s: float
    pause_s: float
    garbled: bool
    newest: bytes


class Observation:
    """Watches one line; see the module."""

    def __init__(self, framing: str, now_ns: int) -> None:
        """`framing` is "framed", "lines" or "auto"; the port was opened just now."""
        self._asked = framing
        self._comes = ""
        self._link = BoardLink()
        self._reader = LineReader()
        self._sketch = Sketch()
        self._bytes = self._lines = self._readings = self._pause_ns = 0
        self._damaged = self._lost = self._looked_ns = 0
        self._newest = b""
        self._byte_rate, self._reading_rate, self._damage_rate, self._loss_rate = Rate(), Rate(), Rate(), Rate()
        self._last_second = LastSecond()
        self.opened(now_ns)

    @property
    def framing(self) -> str:
        """What is shown: as asked for, with `auto` by what comes; "" as long as nobody knows."""
        return self._comes if self._asked == "auto" else self._asked

    def opened(self, now_ns: int) -> None:
        """Say that the port was opened, the first time or again: half frames and half lines are forgotten, counts are kept."""
        self._link.opened(now_ns)
        self._reader.opened()
        self._begin_to_guess()
        self._heard_ns = self._sound_ns = now_ns
        for rate in (self._byte_rate, self._reading_rate, self._damage_rate, self._loss_rate):
            rate.clear()
        self._last_second.clear()

    def receive(self, data: bytes, now_ns: int) -> list[Happened]:
        """Take bytes that came, at least one; give what they held but readings, oldest first. Raises nothing, whatever they are."""
        self._bytes += len(data)
        self._byte_rate.add(len(data), now_ns)
        if now_ns - self._heard_ns >= _S:
            self._pause_ns = now_ns - self._heard_ns
        self._heard_ns = now_ns
        self._newest = (self._newest + data)[-_SHOWN_BYTES:]
        events = self._link.receive(data, now_ns)
        self._tell(data, now_ns)
        lines = self._reader.feed(data)
        return self._take_events(events, now_ns) if self.framing == "framed" else self._take_lines(lines, now_ns)

    def wake(self, now_ns: int) -> None:
        """Let what waits for its time happen; to be called five times a second or more."""
        if self.framing == "framed":
            self._link.wake(now_ns)
            if now_ns - self._looked_ns > _LOOK_NS:
                self._look_for_losses(now_ns)

    def take(self) -> bytes:
        """Give the bytes to send now: questions, to a firmware that speaks the protocol."""
        return self._link.take() if self.framing == "framed" else b""

    def seen(self, now_ns: int) -> Seen:
        """Give everything as it is now."""
        link, framed = self._link, self.framing == "framed"
        stamps = link.stamps if framed and self._readings else None
        accuracy = stamps.fit.accuracy_ns if stamps else None
        return Seen(
            framing=self.framing,
            comes=self._comes,
            received=self._bytes,
            frames=link.frames,
            lines=self._lines,
            readings=self._readings,
            byte_rate=self._byte_rate.per_second(now_ns),
            reading_rate=self._reading_rate.per_second(now_ns),
            damage_rate=self._damage_rate.per_second(now_ns) if framed else 0.0,
            loss_rate=self._loss_rate.per_second(now_ns) if framed else 0.0,
            rate_hz=_S / stamps.period_ns if stamps else None,
            drift_ppm=stamps.fit.drift_ppm if stamps else None,
            accuracy_ms=None if accuracy is None else accuracy / 1e6,
            hello=link.hello,
            sketch=self._sketch,
            channels=self._channels(now_ns),
            counts={name: count for name, count in (link.counts if framed else self._reader.counts).items() if count},
            two_senders=link.two_senders,
            silent_s=(now_ns - self._heard_ns) / _S,
            pause_s=self._pause_ns / _S,
            garbled=self._guess.garbled(now_ns),
            newest=self._newest,
        )

    def _tell(self, data: bytes, now_ns: int) -> None:
        """Find out what comes; anew when nothing whole has come for long: another firmware may be there."""
        self._comes = self._guess.feed(data, self._link.frames - self._frames_before, now_ns)
        if not self._guess.garbled(now_ns):
            self._sound_ns = now_ns
        elif self._comes and now_ns - self._sound_ns > _LOST_NS:
            self._begin_to_guess()
            self._comes = ""

    def _begin_to_guess(self) -> None:
        self._guess = Guess()
        self._frames_before = self._link.frames

    def _look_for_losses(self, now_ns: int) -> None:
        counts = self._link.counts
        damaged, lost = sum(counts[name] for name in _DAMAGE), counts["lost-frames"]
        if damaged > self._damaged:
            self._damage_rate.add(damaged - self._damaged, now_ns)
        if lost > self._lost:
            self._loss_rate.add(lost - self._lost, now_ns)
        self._damaged, self._lost, self._looked_ns = damaged, lost, now_ns

    def _take_events(self, events: list[Came], now_ns: int) -> list[Happened]:
        happened: list[Happened] = []
        for event in events:
            if isinstance(event, SamplesCame):
                self._came(event.count, columns_of(event), now_ns)
            else:
                happened.append(event)
        return happened

    def _take_lines(self, lines: list[bytes], now_ns: int) -> list[Happened]:
        self._lines += len(lines)
        prints: list[Happened] = []
        rows: list[list[float]] = []
        for line in lines:
            numbers = self._sketch.line(line)
            if numbers is None:
                prints.append(PrintCame(line.decode("utf-8", "replace")))
                continue
            if rows and len(rows[0]) != len(numbers):
                self._came(len(rows), [*zip(*rows)], now_ns)
                rows = []
            rows.append(numbers)
        if rows:
            self._came(len(rows), [*zip(*rows)], now_ns)
        return prints

    def _came(self, count: int, columns: Sequence[Sequence[float]], now_ns: int) -> None:
        self._readings += count
        self._reading_rate.add(count, now_ns)
        self._last_second.add(columns, now_ns)

    def _channels(self, now_ns: int) -> tuple[ChannelSeen, ...]:
        spreads = self._last_second.spreads(now_ns)
        hello = self._link.hello
        if self.framing == "framed":
            named = [(each.name, each.unit, each.scale) for each in hello.channels] if hello else []
        else:
            names = self._sketch.names or [f"column {number}" for number in range(1, self._sketch.width + 1)]
            named = [(name, "", 1.0) for name in names]
        return tuple(_scaled(*each, spread) for each, spread in zip(named, spreads)) if len(named) == len(spreads) else ()


def _scaled(name: str, unit: str, scale: float, spread: Spread) -> ChannelSeen:
    low, high = sorted((spread.low * scale, spread.high * scale)) if spread.count else (math.nan, math.nan)
    return ChannelSeen(name, unit, spread.last * scale, low, spread.mean * scale, high)


def columns_of(samples: SamplesCame) -> list[Sequence[float]]:
    """Give a block's samples as one sequence for each channel, oldest first, as they came: without the scale of HELLO."""
    values = array(_TYPECODES[samples.hello.kind])
    values.frombytes(samples.data)
    if sys.byteorder == "big":
        values.byteswap()
    width = len(samples.hello.channels)
    return [values[channel::width] for channel in range(width)]
