"""Part the work orders of excavators for the demo of texts: `python -m scripts.demo_orders`.

Writes two files into edged/demo/orders: `known.csv` for models and thresholds to learn from, `shown.csv` for the demo to stream.
Orders with the same words, in capitals or not, are in the same file.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from pathlib import Path

REPO = Path(__file__).parent.parent
SOURCE = REPO / "tests" / "data" / "excavators" / "orders.csv"
FOLDER = REPO / "edged" / "demo" / "orders"
SEED = 1
SHOWN = 315


def main() -> None:
    """Write both files."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    groups = defaultdict(list)
    for row in rows:
        groups[" ".join(row["text"].casefold().split())].append(row)
    same = sorted(groups)
    rng = random.Random(SEED)
    rng.shuffle(same)
    for name, count in (("shown", SHOWN), ("known", len(rows))):
        taken = []
        while same and len(taken) < count:
            taken += groups[same.pop()]
        rng.shuffle(taken)
        with (FOLDER / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(taken)
        print(f"{name}.csv: {len(taken)} orders")


if __name__ == "__main__":
    main()
