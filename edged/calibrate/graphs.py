"""The nets that a calibration runs: chains of one kind of operator each, which ship with edged in one archive.

Their names are `KIND.CLASS-SHAPE.tflite`, such as `int8.conv-12x32k3x2.tflite`. They are written by
`scripts/calibration_graphs.py`.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edged.models.costs import Costs, costs_of_file

ARCHIVE = "graphs.zip"
FIRST = "float32.dense-8x1.tflite"  # the smallest net of all, for what a call and a runtime take
# Nets whose memory is looked at: it grows with weights and places, and others would say nothing new.
_IN_MEMORY = frozenset(
    {
        "dense-128x6", "dense-256x4", "dense-512x2", "conv-24x16k3x2", "conv-6x64k3x2", "conv-20x64k1x2", "conv-12x16k5x2",
        "conv-6x128k3x1", "conv-40x1-32k8s2", "conv-4x8k3x6", "depthwise-20x24x3", "depthwise-6x128x4", "mixed-32x16x9",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Net:
    """One net of the archive, laid out as a file."""

    path: Path
    costs: Costs

    @property
    def kind(self) -> str:
        """Compute type."""
        return self.path.name.partition(".")[0]

    @property
    def what(self) -> str:
        """Class of its operators: dense, conv, depthwise, elements; or mixed."""
        return self.path.name.partition(".")[2].partition("-")[0]

    @property
    def in_memory(self) -> bool:
        """Say whether its memory is looked at."""
        return self.path.stem.partition(".")[2] in _IN_MEMORY


def lay_out(folder: Path) -> list[Net]:
    """Write all nets into `folder`, and count their costs; OSError where the folder does not take them."""
    with (resources.files("edged.calibrate") / ARCHIVE).open("rb") as file, zipfile.ZipFile(file) as archive:
        archive.extractall(folder)  # ours: its names are plain
        paths = [folder / name for name in archive.namelist()]
    return [Net(path, costs_of_file(path)) for path in paths]
