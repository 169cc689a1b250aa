"""What a scenario found: lines as it goes, numbers, and each fault with what exactly was wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHOWN = 10  # of many faults of one kind


@dataclass
class Report:
    """One run of one scenario. It holds when `faults` is empty; `numbers` may be nested, and is JSON."""

    scenario: str
    seed: int
    folder: Path
    say: Callable[[str], None]
    numbers: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def progress(self, text: str) -> None:
        """Tell whoever waits how far it is."""
        self.say(f"{self.scenario}: {text}")

    def number(self, **numbers: Any) -> None:
        """Keep measured values under their names, and tell them."""
        self.numbers.update(numbers)
        self.progress(", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in numbers.items()))

    def fault(self, text: str) -> None:
        """Keep what disproves the scenario."""
        self.faults.append(text)
        self.progress(f"FAULT: {text}")

    def expect(self, holds: object, otherwise: str) -> None:
        """Keep a fault where something does not hold."""
        if not holds:
            self.fault(otherwise)

    def as_dict(self) -> dict[str, Any]:
        """Give all of it for JSON."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "holds": not self.faults,
            "folder": str(self.folder),
            "numbers": self.numbers,
            "faults": self.faults,
        }


def some(items: Sequence[object]) -> str:
    """Write the first few of many, and how many there are in all."""
    text = ", ".join(map(str, items[:SHOWN]))
    return text if len(items) <= SHOWN else f"{text}, … ({len(items):,} in all)"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
