"""The work orders that the demo of texts streams, each with the system that people filed it under.

Real orders of mining excavators, see `orders/README.md` for where they come from. `shown.csv` holds those that neither the models
nor the thresholds of the demo have seen.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "orders"


@dataclass(frozen=True)
class WorkOrder:
    """One order: what was written, and the system it really is about."""

    text: str
    system: str


def load_orders(path: Path = FOLDER / "shown.csv") -> list[WorkOrder]:
    """Read the orders of a file, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        return [WorkOrder(row["text"], row["label"]) for row in csv.DictReader(file)]
