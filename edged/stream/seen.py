"""What a pipeline shows of its live results to whoever looks on: see `Pipeline.shadow`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from edged.records import Batch, Readings
from edged.stream.streams import Name


@dataclass(frozen=True, slots=True)
class Seen:
    """What the live model said of one window: of the stream `name`, ended at `end_ns`, in `infer_ns` nanoseconds."""

    name: Name
    end_ns: int
    output: dict[str, Any]
    infer_ns: int


class Onlooker(Protocol):
    """Who looks on."""

    def see(self, batch: Batch, readings: Readings, live: list[Seen]) -> None:
        """Take a batch, its readings and the results they gave; called by the worker, so it must not wait or raise."""
