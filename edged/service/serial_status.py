"""How a serial port does, as `edged status` and the metrics show it.

Pure: a line's state in, values out. Nothing heavy is imported: commands that only read a status start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edged.clock import NS
from edged.histogram import RateMeter

if TYPE_CHECKING:  # they bring numpy and pyserial
    from edged.stream.sources.serial_line import SerialState
    from firmware_bridge.messages import Hello


class SerialStatus(msgspec.Struct):
    """One serial port. `state`: waiting (not tried yet) | open | failing, with `error` in words.

    `framing`: framed | lines, empty while nothing tells; `baud` in bits a second. `firmware` to `rate_hz` are what the firmware says
    of itself: `channels` its channels' names with their units, `rate_hz` its readings a second, None before it has said so.
    Counters rise from 0 since the daemon started: `readings` in frames; `lines` of text; `lost_frames` that are missing in `gaps`
    of the sequence; `restarts` of the firmware; how often it was `unplugged`; `results_sent` down to it. `faults` are all that was
    wrong or dropped, by name, those three too. The rates are per second over the last ten.

    `garbled`: bytes come and nothing is whole among them; `silent_s`: seconds for which an open port has brought nothing;
    `two_senders`: frames of another firmware come on the same line. `accuracy_ms` is how well readings are placed in time,
    milliseconds, by the own estimate; `drift_ppm` by how much the firmware's clock is fast, millionths.
    """

    port: str = ""
    state: str = ""
    since_s: float | None = None
    error: str = ""
    framing: str = ""
    baud: int = 0
    firmware: str = ""
    firmware_version: str = ""
    channels: dict[str, str] = {}
    rate_hz: float | None = None
    readings: int = 0
    frames: int = 0
    lines: int = 0
    bytes: int = 0
    reading_rate: float = 0.0
    frame_rate: float = 0.0
    line_rate: float = 0.0
    faults: dict[str, int] = {}
    lost_frames: int = 0
    gaps: int = 0
    restarts: int = 0
    unplugged: int = 0
    garbled: bool = False
    silent_s: float | None = None
    two_senders: bool = False
    accuracy_ms: float | None = None
    drift_ppm: float | None = None
    results_sent: int = 0
    last_event: str = ""
    last_text: str = ""


class SerialRates:
    """How fast one port's counters rise, sampled by the daemon's tick."""

    def __init__(self, mono_ns: int) -> None:
        self._readings, self._frames, self._lines = (RateMeter(mono_ns) for _ in range(3))

    def observe(self, state: SerialState, mono_ns: int) -> None:
        """Note the counters of a state taken at monotonic `mono_ns`."""
        self._readings.observe(state.readings, mono_ns)
        self._frames.observe(state.frames, mono_ns)
        self._lines.observe(state.lines, mono_ns)

    def rates(self) -> tuple[float, float, float]:
        """Give readings, frames and lines per second over the last ten."""
        return self._readings.rate(), self._frames.rate(), self._lines.rate()


def speaker(state: SerialState) -> Hello | None:
    """Give what the firmware on the line says of itself; nothing of one whose place a sketch that prints lines has taken."""
    return None if state.framing == "lines" else state.hello


def serial_status(state: SerialState, rates: SerialRates | None, mono_ns: int) -> SerialStatus:
    """Say how a port is whose `state` was taken at monotonic `mono_ns`; without `rates` they are 0."""
    status = SerialStatus(
        port=state.port,
        state=state.state,
        since_s=(mono_ns - state.since_ns) / NS,
        error=state.error.text if state.error else "",
        framing=state.framing,
        baud=state.baud,
        readings=state.readings,
        frames=state.frames,
        lines=state.lines,
        bytes=state.bytes,
        faults=dict(state.counts),
        lost_frames=state.counts.get("lost-frames", 0),
        gaps=state.counts.get("gaps", 0),
        restarts=state.counts.get("restarts", 0),
        unplugged=state.unplugged,
        garbled=state.garbled,
        silent_s=state.silent_s,
        two_senders=state.two_senders,
        accuracy_ms=state.accuracy_ms,
        drift_ppm=state.drift_ppm,
        results_sent=state.results_sent,
        last_event=state.last_event,
        last_text=state.last_text,
    )
    hello = speaker(state)
    if hello is not None:
        status.firmware, status.firmware_version = hello.firmware, hello.version
        status.channels = {channel.name: channel.unit for channel in hello.channels}
        status.rate_hz = hello.rate_hz
    if rates is not None:
        status.reading_rate, status.frame_rate, status.line_rate = rates.rates()
    return status
