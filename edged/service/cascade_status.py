"""How a pipeline's cascade does, as `edged status --json` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # so that commands which only read a status start without numpy
    from edged.stream.cascade import CascadeInference
    from edged.stream.escalation import Escalation


class StageStatus(msgspec.Struct):
    """One stage of a cascade, since its model was loaded: inputs it was asked, was sure of, had no budget for, failed at."""

    name: str = ""
    asked: int = 0
    accepted: int = 0
    over_budget: int = 0
    failed: int = 0


class CascadeStatus(msgspec.Struct):
    """The cascade that a pipeline runs. `bands` counts its results; of the questions `asked`, some are `open` still."""

    stages: list[StageStatus] = []
    bands: dict[str, int] = {}
    asked: int = 0
    answered: int = 0
    unanswered: int = 0
    open: int = 0


def cascade_status(inference: CascadeInference, escalation: Escalation | None) -> CascadeStatus:
    """Say how a cascade does, and who was asked about its results."""
    stages = [StageStatus(stage.name, **vars(stage.counts)) for stage in inference.stages]
    status = CascadeStatus(stages, dict(inference.bands))
    if escalation is not None:
        status.asked, status.answered = escalation.asked, escalation.answered
        status.unanswered, status.open = escalation.unanswered, escalation.open
    return status
