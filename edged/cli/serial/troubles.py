"""What is wrong with a serial line that is open, in words, each with the next step; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edged.cli.wording import amount, duration
from firmware_bridge.observation import Seen

SILENT_S = 3.0
_PAUSES = 3  # of so many of the line's own pauses a silence is made
_FULL = 0.8  # of a line that carries more, a firmware's buffer runs over
_BITS = 10  # on the line for a byte: start, 8, stop
_LESSER_BAUD = (9600, 57_600, 115_200, 230_400, 921_600)


@dataclass(frozen=True)
class Trouble:
    """Something wrong: a stable code as in `edged status`, what it is, and what to do."""

    code: str
    text: str
    hint: str


def troubles(seen: Seen, baud: int) -> list[Trouble]:
    """Give what is wrong now, the worst first; none where all is well."""
    return [*_found(seen, baud)]


def _found(seen: Seen, baud: int) -> Iterator[Trouble]:
    if seen.silent_s > max(SILENT_S, _PAUSES * seen.pause_s):
        yield _silent(seen)
    elif seen.garbled:
        yield _garbled(seen, baud)
    elif seen.comes not in ("", seen.framing):
        yield _other_framing(seen)
    elif seen.framing == "framed" and seen.hello is None and seen.frames:
        yield Trouble(
            "serial-no-hello",
            "frames come, but no HELLO: nobody knows what the readings mean",
            "the firmware does not hear the question: connect its RX with this board's TX, or let it send a HELLO every few seconds",
        )
    if seen.two_senders:
        yield Trouble(
            "serial-two-senders",
            "frames of two firmwares come on this line; those of the second are dropped",
            "have one microcontroller on a line; give each its own session where two take turns",
        )
    if seen.damage_rate > 0:
        yield Trouble(
            "serial-damaged",
            f"{amount(seen.damage_rate)} frames a second come damaged",
            f"look at ground and length of the wires; {_slower(baud)}",
        )
    elif seen.loss_rate > 0:
        yield _lost(seen, baud)


def _silent(seen: Seen) -> Trouble:
    if not seen.received:
        text = f"nothing arrives, for {duration(seen.silent_s)} now"
        hint = (
            "has the firmware power, is its TX at this board's RX, do both share ground, is it this port? `edged serial monitor` lists them"
        )
    else:
        text = f"nothing has arrived for {duration(seen.silent_s)}"
        hint = "the firmware hangs, has lost power, or waits; its reset button tells which"
    return Trouble("serial-silent", text, hint)


def _garbled(seen: Seen, baud: int) -> Trouble:
    others = ", ".join(str(each) for each in _LESSER_BAUD if each != baud)
    return Trouble(
        "serial-garbled",
        f"bytes come, such as {seen.newest[-8:].hex(' ')}, but neither a frame nor a line is whole: the baud rate is hardly {baud}",
        f"give what the firmware gives to Serial.begin(), as --baud: often one of {others}",
    )


def _other_framing(seen: Seen) -> Trouble:
    return Trouble(
        "serial-other-framing",
        f"{'frames of the bridge' if seen.comes == 'framed' else 'lines of text'} come, but {seen.framing} was asked for",
        f"take --framing {seen.comes}, or leave it out",
    )


def _lost(seen: Seen, baud: int) -> Trouble:
    use = seen.byte_rate * _BITS / baud
    if _FULL <= use <= 1.05:  # on USB itself the baud rate means nothing
        return Trouble(
            "serial-frames-lost",
            f"{amount(seen.loss_rate)} frames a second are missing, and the line is {min(use, 1):.0%} full",
            "raise the baud rate on both sides, or send less",
        )
    return Trouble(
        "serial-frames-lost",
        f"{amount(seen.loss_rate)} frames a second are missing",
        "the firmware's buffer runs over, or a hub or adapter loses bytes; give the firmware a larger buffer, or try another cable",
    )


def _slower(baud: int) -> str:
    lower = [each for each in _LESSER_BAUD if each < baud]
    return f"try a lower baud rate on both sides, such as {lower[-1]}" if lower else "keep the wires away from motors"
