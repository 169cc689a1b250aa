"""Results down a serial line to the firmware, as label, score and alarm: the newest, whenever it has room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edged.hold import Hold
from edged.records import Outgoing
from firmware_bridge.messages import Result


class SerialOutput:
    """An `outputs.base.Output` that hands results to `send`, which keeps the newest and waits for nothing.

    They are not held: a lamp shows what is, and what was is for the other outputs.
    """

    failing: str | None = None
    finished = False

    def __init__(self, send: Callable[[Result], None]) -> None:
        self.dropped: dict[str, int] = {}
        self._send = send

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        """Hand the newest result over."""
        if outgoing:
            self._send(in_brief(outgoing[-1]))

    def close(self) -> None:
        """Do nothing: the line is closed with its last source."""


def in_brief(outgoing: Outgoing) -> Result:
    """Give of a result what a firmware takes: a label or text, a score, whether the alarm is on.

    Where the release has no alarm, an anomaly is one.
    """
    output = outgoing.result.output
    score = output.get("score")
    if score is None and output.get("values"):
        score = output["values"][0]
    label = output.get("label", output.get("text", ""))
    alarm = outgoing.alarm or (outgoing.result.alarm is None and bool(output.get("anomaly")))
    return Result(str(label), _number(score), alarm)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
