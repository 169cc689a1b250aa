"""Prints a C header with recorded acceleration: `python3 recorded.py FOLDER`, with the folder of the demo's recordings."""

from __future__ import annotations

import sys
from pathlib import Path

RATE_HZ = 26
PARTS = [("stationary", "stationary_01_26Hz_4g_mg.csv", 15), ("running", "running_01_26Hz_4g_mg.csv", 20)]  # seconds
FIRST = 200  # reading; a recording begins while the sensor is still handled


def main(folder: Path) -> None:
    """Print the header to standard output."""
    print("/* Made by recorded.py from recordings of the Human activities dataset 1.0.1, (c) 2020 STMicroelectronics,")
    print(" * BSD-3-Clause: LSM6DSL on B-L475E-IOT01A, 26 Hz. x, y, z in mg, gravity included. */")
    print(f"#define RECORDED_HZ {RATE_HZ}")
    print("static const struct { const char *name; unsigned count; } recorded_parts[] = {")
    for name, _, seconds in PARTS:
        print(f'    {{"{name}", {seconds * RATE_HZ}}},')
    print("};")
    print("static const int16_t recorded[][3] = {")
    for _, file, seconds in PARTS:
        lines = (folder / file).read_text(encoding="ascii").splitlines()
        for line in lines[FIRST : FIRST + seconds * RATE_HZ]:
            x, y, z = (int(value) for value in line.split(","))
            print(f"    {{{x}, {y}, {z}}},")
    print("};")


main(Path(sys.argv[1]))
