"""What is not as it should be on the serial ports, as conditions; called by each tick.

`port_faults` says of one line's state what is wrong with the port or on it, `mismatch` whether a pipeline's
model takes what the firmware says of itself. What keeps a pipeline from working is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edged.clock import NS
from edged.config import schema
from edged.errors import OperatorError
from edged.service.health import Conditions
from edged.service.parts import Lane, Parts
from edged.service.serial_status import SerialRates, speaker
from edged.service.snapshot import ERROR, WARNING
from edged.stream.channels import match_hello

if TYPE_CHECKING:  # they bring pyserial, which a daemon without serial ports does without
    from edged.stream.sources.serial_line import SerialState
    from firmware_bridge.messages import Hello

PATIENCE_S = 5.0  # a board that was plugged in starts, and says HELLO, within this
_PERIODS = 10  # a board that is late by so many readings is silent


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: a condition's code and severity, with words for people."""

    code: str
    severity: str
    text: str
    hint: str


class SerialHealth:
    """Keeps the rates and the conditions of one daemon's serial ports in step with what the lines show."""

    def __init__(self, parts: Parts, conditions: Conditions) -> None:
        self._parts = parts
        self._conditions = conditions
        self._held: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Take each line's state: note its counters, set what holds, clear what is over."""
        now = self._parts.clock.mono()
        found = [each for port, line in self._parts.serial_lines.items() for each in self._of_line(port, line.state(), now)]
        for subject, fault in found:
            self._conditions.set(fault.code, fault.severity, fault.text, subject=subject, hint=fault.hint)
        holds = {(fault.code, subject) for subject, fault in found}
        for code, subject in self._held - holds:
            self._conditions.clear(code, subject)
        self._held = holds

    def _of_line(self, port: str, state: SerialState, now: int) -> Iterator[tuple[str, Fault]]:
        """Give what is wrong, each with the port or pipeline that it is about."""
        self._parts.serial_rates.setdefault(port, SerialRates(now)).observe(state, now)
        readers = [lane for lane in self._parts.lanes if _reads(lane.options, port)]
        rates = [lane.release.manifest.input.rate_hz for lane in readers if lane.release]
        for fault in port_faults(state, [rate for rate in rates if rate], now):
            yield port, fault
        for lane in readers if state.state == "open" else []:  # another board may be plugged in next
            if misfit := mismatch(speaker(state), lane):
                yield lane.options.name, misfit


def _reads(options: schema.Pipeline, port: str) -> bool:
    return isinstance(options.source, schema.SerialSource) and options.source.port == port


def port_faults(state: SerialState, rates_hz: Sequence[float], mono_ns: int) -> list[Fault]:
    """Say what is wrong with a port, or with what comes on it, at monotonic `mono_ns`.

    `rates_hz` are those of the models that read it, for a line that does not say its own rate.
    """
    if state.error is not None:
        return [Fault(state.error.code, ERROR, state.error.text.removeprefix(f"{state.port} "), state.error.hint)]  # it is told of the port
    if state.state != "open":
        return []
    faults = _of_what_comes(state, rates_hz, mono_ns)
    if state.two_senders:
        text = "two firmwares send on this line: the first is listened to, the frames of the other are dropped"
        faults.append(Fault("serial-two-senders", WARNING, text, "a port is for one board: look at the wiring"))
    return faults


def mismatch(hello: Hello | None, lane: Lane) -> Fault | None:
    """Say whether a lane's model does not take what the firmware says that it sends; None too before both are known."""
    if hello is None or lane.release is None or not isinstance(lane.options.decoder, schema.BridgeDecoder):
        return None
    try:
        match_hello(lane.options.name, hello, lane.release.manifest)
    except OperatorError as error:
        return Fault(error.code, ERROR, error.text.removeprefix(f"pipeline {lane.options.name}: "), error.hint)
    return None


def _of_what_comes(state: SerialState, rates_hz: Sequence[float], mono_ns: int) -> list[Fault]:
    """Give the one thing that is wrong with what an open port brings; what follows from it is not told."""
    if state.garbled:
        text = f"bytes come, and neither a frame nor a line is whole among them at {state.baud} baud"
        return [Fault("serial-garbled", ERROR, text, "write the firmware's own rate as `baud`; is `framing` what it speaks?")]
    limit = _silence_s(state, rates_hz)
    if limit is not None and state.silent_s is not None and state.silent_s > limit:
        text = f"the port is open, and nothing has come for more than {limit:.0f} s"
        return [Fault("serial-silent", ERROR, text, "has the board power, does its firmware run, and is it this port?")]
    if state.framing == "framed" and state.hello is None and mono_ns - state.since_ns > PATIENCE_S * NS:
        if state.frames:
            text = "frames come, but no HELLO that says what is in them, so their readings are dropped"
            return [Fault("serial-no-hello", ERROR, text, "let the firmware answer a PING with its HELLO, or send one every few seconds")]
        text = "what comes is no frame, so no HELLO says what it means"
        return [Fault("serial-no-hello", ERROR, text, 'for a sketch that prints lines write `framing = "lines"`')]
    return []


def _silence_s(state: SerialState, rates_hz: Sequence[float]) -> float | None:
    """Give the seconds without a byte that mean a fault; None for lines that come when they come."""
    hello = speaker(state)
    if hello is not None:
        return max(PATIENCE_S, _PERIODS / hello.rate_hz)
    if rates_hz:
        return max(PATIENCE_S, _PERIODS / min(rates_hz))
    return PATIENCE_S if state.framing == "framed" else None
