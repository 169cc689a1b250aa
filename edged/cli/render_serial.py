"""The serial ports on the status screen, a line each, and what was lost on them behind it; pure."""

from __future__ import annotations

from edged.cli.columns import GAP, clean, fit, painted, wide, wrap_words
from edged.cli.wording import amount, count, duration
from edged.service.serial_status import SerialStatus

# Told in words of their own, or no loss: the first line after opening may be half a one, and is always dropped.
_TOLD = ("lost-frames", "gaps", "restarts", "partial")
_COLOURS = {"open": "green", "waiting": ""}
_LONGEST_FIRMWARE = 32


def serial_lines(ports: list[SerialStatus], width: int, colour: bool) -> list[str]:
    """Write all ports in lines of at most `width` columns: what each is and how it does, then what was lost, where anything was."""
    lines = []
    for port in ports:
        lines.append(_port(port, width, colour))
        if losses := _losses(port):
            lines += wrap_words(", ".join(losses), width, GAP, GAP)
    return lines


def _port(port: SerialStatus, width: int, colour: bool) -> str:
    """Say which port it is and what comes on it; where there is no room the name of the port is cut, never its state."""
    since = "" if port.since_s is None else f" {duration(port.since_s, 1)}"
    state = f"{clean(port.state) or 'unknown'}{since}"
    firmware = fit(clean(f"{port.firmware} {port.firmware_version}".strip()), _LONGEST_FIRMWARE)
    rate = port.line_rate if port.framing == "lines" else port.reading_rate
    flow = f"{amount(rate)}/s" if port.framing and port.state == "open" else ""
    about = "".join(f"{GAP}{each}" for each in (str(port.baud) if port.baud else "", clean(port.framing), firmware, flow) if each)
    title = f"serial{GAP}"
    room = max(0, width - wide(state) - len(GAP))
    start = fit(title + fit(clean(port.port), max(8, room - wide(title + about))) + about, room) + GAP
    shown = fit(state, max(0, width - wide(start)))
    return start + painted(shown, _COLOURS.get(port.state, "red"), colour)


def _losses(port: SerialStatus) -> list[str]:
    parts = []
    if port.lost_frames:
        parts.append(f"lost {_many(port.lost_frames, 'frame')} in {_many(port.gaps, 'gap')}")
    others = [(name, n) for name, n in port.faults.items() if n and name not in _TOLD]
    parts += [f"{count(n)} {clean(name)}" for name, n in sorted(others, key=lambda each: (-each[1], each[0]))]
    if port.restarts:
        parts.append(_many(port.restarts, "restart"))
    if port.unplugged:
        parts.append(f"unplugged {count(port.unplugged)}×")
    return parts


def _many(n: int, noun: str) -> str:
    return f"{count(n)} {noun}{'s' * (n != 1)}"
