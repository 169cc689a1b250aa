"""How much memory a release takes, and whether the board has it. Until there is a calibration: from what `edged pack` counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edged.errors import BoardError, DoesNotFit
from edged.models.costs import Costs
from edged.models.packed import Packed
from edged.service.machine import ROOT, available_mib, total_mib

_MIB = 1 << 20
LEFT_MIB = 64.0  # for the rest of the board, while a second model is in memory
_SLACK_MIB = 64  # of a trial: batches, and what a runtime takes for itself


def predicted_mib(costs: Costs) -> float:
    """Give what loading a variant takes: its weights once as read and once as the runtime repacks them, and its activations."""
    return (2 * costs.weight_bytes + costs.arena_bytes) / _MIB


def least_mib(packed: Packed) -> float:
    """Give what the smallest variant of a release takes."""
    return min((predicted_mib(costs) for costs in packed.costs.values()), default=0.0)


def tried_mib(packed: Packed, report: Mapping[str, Any]) -> float:
    """Give what a release takes that was on trial: as measured there, and no less than predicted of the variant that ran."""
    costs = packed.costs.get(str(report.get("variant")))
    predicted = predicted_mib(costs) if costs else max((predicted_mib(each) for each in packed.costs.values()), default=0.0)
    return max(predicted, float(report.get("pss_mib") or 0.0))


def check_fits(packed: Packed, budget_mib: int, root: Path = ROOT) -> None:
    """Raise DoesNotFit(`does-not-fit`) for a release whose smallest variant is larger than the budget, or than this board."""
    need, have = least_mib(packed), budget_mib or total_mib(root)
    if have is not None and need > have:
        which = "the memory budget" if budget_mib else "this board's memory"
        text = f"{packed.name} {packed.release} needs {need:,.0f} MiB, and {which} is {have:,.0f} MiB"
        raise DoesNotFit("does-not-fit", text, "give it a smaller variant, or run it on a larger board")


def check_available(what: str, need_mib: float, root: Path = ROOT) -> None:
    """Raise BoardError(`memory-short`) where the board does not have so much memory now."""
    have = available_mib(root)
    if have is not None and need_mib + LEFT_MIB > have:
        text = f"{what} needs {need_mib:,.0f} MiB, and {max(0.0, have - LEFT_MIB):,.0f} MiB are available"
        raise BoardError("memory-short", text, "stop what else runs here, or wait until it ends")


def trial_mib(predicted: float, golden_bytes: int) -> int:
    """Give the limit of a trial beside Python and the runtime: twice the prediction, its goldens as read and as numbers, some slack."""
    return int(2 * predicted + 4 * golden_bytes / _MIB) + _SLACK_MIB


def spare_mib(root: Path = ROOT) -> int | None:
    """Give what the board has for one more model now, None where that is not known. Below a trial's slack nothing is tried."""
    have = available_mib(root)
    return None if have is None else max(_SLACK_MIB, int(have - LEFT_MIB))
