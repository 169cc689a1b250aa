"""Prints what a firmware says on a serial port, and when its readings were taken: the library alone, without edged.

Usage: python firmware_bridge/example.py /dev/ttyACM0 [BAUD]
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import NoReturn

from firmware_bridge.link import BoardLink, Came, EventCame, HelloCame, SamplesCame, TextCame
from firmware_bridge.port import Port, PortError

LETTERS = {"int16": "h", "int32": "i", "float32": "f"}  # of Python's struct


def main(arguments: list[str]) -> int:
    """Print until Ctrl-C; give the exit code."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        listen(arguments[0], int(arguments[1]) if arguments[1:] else 115_200)
    except PortError as error:
        print(f"{error.text}\n  → {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def listen(path: str, baud: int) -> NoReturn:
    """Print what comes. Raises PortError when the port cannot be opened, or was unplugged."""
    port, link, unsent = Port.open(path, baud), BoardLink(), b""
    wall = time.time_ns() - time.monotonic_ns()
    link.opened(time.monotonic_ns())
    while True:
        data = port.read(0.1)
        now = time.monotonic_ns()
        for came in link.receive(data, now):
            for line in words(came, wall):
                print(line, flush=True)
        link.wake(now)
        unsent = unsent or link.take()
        unsent = unsent[port.write(unsent) :]


def words(came: Came, wall: int) -> Iterator[str]:
    """Say what came, a line for each reading; `wall` leads from monotonic to wall time, in ns."""
    if isinstance(came, HelloCame):
        hello = came.hello
        yield f"HELLO {hello.firmware} {hello.version}, {hello.rate_hz:g} readings a second"
    elif isinstance(came, TextCame):
        yield f"TEXT {came.text!r}"
    elif isinstance(came, EventCame):
        yield f"EVENT {came.event.code} {came.event.value} {came.event.text!r}"
    elif isinstance(came, SamplesCame):
        yield from readings(came, wall)


def readings(came: SamplesCame, wall: int) -> Iterator[str]:
    """Write the readings of a block, each with its time."""
    channels = came.hello.channels
    step = (came.last_ns - came.first_ns) / max(1, came.count - 1)
    for number, row in enumerate(struct.iter_unpack(f"<{len(channels)}{LETTERS[came.hello.kind]}", came.data)):
        taken = datetime.fromtimestamp((wall + came.first_ns + number * step) / 1e9)
        values = [f"{channel.name} {sample * channel.scale:.6g} {channel.unit}" for channel, sample in zip(channels, row)]
        yield f"{taken:%H:%M:%S.%f}  {'  '.join(values)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
