"""The recordings that the demo plays: real acceleration of people who stand still, walk and run.

Human activities dataset 1.0.1 of STMicroelectronics, BSD-3-Clause (`recordings/LICENSE`):
LSM6DSL on B-L475E-IOT01A, 26 Hz, ±4 g. A file is named `<activity>_<number>_26Hz_4g_mg.csv`;
its lines are `x, y, z` in mg, gravity included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Recording:
    """One recording: what the person really does, and x, y, z in mg for each reading."""

    activity: str
    readings: tuple[tuple[int, int, int], ...]


def load_recordings(folder: Path = FOLDER) -> list[Recording]:
    """Read all recordings of a folder, ordered so that activities take turns."""
    paths = sorted(folder.glob("*.csv"), key=lambda path: (path.name.split("_")[1], path.name))
    return [Recording(path.name.split("_")[0], _readings(path)) for path in paths]


def _readings(path: Path) -> tuple[tuple[int, int, int], ...]:
    rows = (line.split(",") for line in path.read_text(encoding="ascii").splitlines())
    return tuple((int(x), int(y), int(z)) for x, y, z in rows)
