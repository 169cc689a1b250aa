"""What a serial port reads when its baud rate is not the sender's: bytes as bits on a wire, sampled at another rate."""

from __future__ import annotations


def misread(data: bytes, sent_baud: float, read_baud: float, idle_bits: int = 0, at_once: bool = False) -> bytes:
    """Send bytes as 8N1 at one rate, `idle_bits` of silence after each, and read them at another.

    A receiver waits for the falling edge of a start bit, then looks at the middle of each bit. It hands a byte on even where
    the stop bit is none, as Linux does. After that some wait for the line to rise, and some (`at_once`) take a low line for the next start.
    """
    wire = [1, 1]
    for byte in data:
        wire += [0, *((byte >> bit) & 1 for bit in range(8)), 1, *[1] * idle_bits]
    wire += [1] * 20
    bit = sent_baud / read_baud  # one of the reader's, in those of the sender
    read = bytearray()
    time = 0.0
    while (start := _start(wire, time, at_once)) is not None:
        if _level(wire, start + bit / 2):  # too short for a start bit
            time = max(start + bit / 2, int(start) + 1)
            continue
        read.append(sum(_level(wire, start + (1.5 + place) * bit) << place for place in range(8)))
        time = start + 9.5 * bit
    return bytes(read)


def _start(wire: list[int], time: float, at_once: bool) -> float | None:
    """Give when the next start bit begins, from `time` on; None at the end."""
    place = int(time)
    if at_once and not _level(wire, time):
        return time
    try:
        rises = wire.index(1, place)
        return max(time, float(wire.index(0, rises)))
    except ValueError:
        return None


def _level(wire: list[int], time: float) -> int:
    place = int(time)
    return wire[place] if place < len(wire) else 1
