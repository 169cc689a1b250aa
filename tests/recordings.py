"""Real recordings of a person's movement, as messages with event time; see `data/har/LICENSE`.

Each has 1000 readings of x, y, z in mg at 26 Hz; the label is what its recorder did.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from tests.conftest import DATA

ALL = ["running_01", "running_02", "stationary_01", "stationary_02", "walking_01", "walking_02"]
WINDOWS = 6  # 260 readings each 130: 1 + (1000 - 260) // 130
START_MS = 1_795_351_772_000
RATE_HZ = 26.0


def label_of(name: str) -> str:
    """Give what was done in a recording."""
    return name.split("_")[0]


def readings(name: str) -> NDArray[np.float64]:
    """Give a recording as float64 [1000, 3], mg."""
    return np.loadtxt(DATA / "har" / f"{name}.csv", delimiter=",")


def times_ms(count: int, start_ms: int = START_MS) -> list[int]:
    """Give the times of `count` readings at 26 Hz."""
    return [start_ms + round(i * 1000 / RATE_HZ) for i in range(count)]


def messages(name: str, start_ms: int = START_MS) -> list[str]:
    """Give a recording as one JSON message a reading."""
    rows = readings(name)
    return [json.dumps({"ts": ts, "x": x, "y": y, "z": z}) for ts, (x, y, z) in zip(times_ms(len(rows), start_ms), rows.tolist())]


def window_message(name: str, start_ms: int = START_MS) -> str:
    """Give the first 260 readings, one window, as one JSON message of arrays."""
    x, y, z = readings(name)[:260].T.tolist()
    return json.dumps({"ts": start_ms, "x": x, "y": y, "z": z})
