"""A firmware or a sketch for benchmarks, as a process of its own: paced in real time, or as fast as the line takes.

`python -m bench.serial_sender FD FORM RATE COUNT SECONDS` writes to a file descriptor, the master of a pseudo-terminal: frames
(FORM framed) or lines (csv) of RATE readings a second, COUNT at a time; RATE 0 is as fast as it goes. At the end it prints as JSON how
many readings went out, in which time, and when each block's last byte was written (monotonic seconds).
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable

from bench.parties import recording
from firmware_bridge.messages import Channel, Hello
from tests.firmwares import FakeFirmware

TICK_HZ = 1_000_000
FAST_HZ = 100_000.0  # it says so when it sends as fast as it can
ASKED_S = 0.05  # between two looks at what the board asks


def main() -> None:
    """Send, and say what was sent."""
    fd, form, rate, count, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    rows = [[int(value) for value in row] for row in recording()]
    began = time.monotonic()
    tick: Callable[[float], int] = lambda at: int((at - began) * TICK_HZ)  # noqa: E731
    firmware = FakeFirmware(Hello("bench", "1", "int16", TICK_HZ, rate or FAST_HZ, 0, tuple(Channel(name, "mg", 1.0) for name in "xyz")))
    blocks = _blocks(rows, count)
    texts = ["".join(f"{x},{y},{z}\r\n" for x, y, z in block).encode() for block in blocks]
    times: list[float] = []
    os.write(fd, b"\0" + firmware.say_hello() if form == "framed" else b"\r\n")
    asked = began
    while (now := time.monotonic()) < began + seconds:
        due = began + (len(times) + 1) * count / rate if rate else now
        if now - asked > ASKED_S:
            asked = now
            if select.select([fd], [], [], 0)[0]:
                firmware.tick = tick(time.monotonic())
                os.write(fd, firmware.receive(os.read(fd, 4096)))
        time.sleep(max(0.0, due - time.monotonic()))
        which = len(times) % len(blocks)
        os.write(fd, firmware.samples(blocks[which], tick(due)) if form == "framed" else texts[which])
        times.append(time.monotonic())
    print(json.dumps({"readings": len(times) * count, "seconds": times[-1] - began, "times": times if rate else []}))


def _blocks(rows: list[list[int]], count: int) -> list[list[list[int]]]:
    """Give blocks of `count` readings that go round the recording, at most a hundred."""
    endless = rows * (count // len(rows) + 2)
    return [endless[start : start + count] for start in (number * count % len(rows) for number in range(100))]


if __name__ == "__main__":
    main()
