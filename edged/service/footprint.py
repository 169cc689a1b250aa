"""Whether the board has the memory for one more model now, and how much of it a trial may take."""

from __future__ import annotations

from pathlib import Path

from edged.board.memory import available_mib
from edged.errors import BoardError

_MIB = 1 << 20
LEFT_MIB = 64.0  # for the rest of the board, while a second model is in memory
_SLACK_MIB = 64  # of a trial: batches, and what a runtime takes for itself


def check_available(what: str, need_mib: float, root: Path = Path("/")) -> None:
    """Raise BoardError(`memory-short`) where the board does not have so much memory now."""
    have = available_mib(root)
    if have is not None and need_mib + LEFT_MIB > have:
        text = f"{what} needs {need_mib:,.0f} MiB, and {max(0.0, have - LEFT_MIB):,.0f} MiB are available"
        raise BoardError("memory-short", text, "stop what else runs here, or wait until it ends")


def trial_mib(predicted: float, golden_bytes: int) -> int:
    """Give the limit of a trial beside Python and the runtime: twice the prediction, its goldens as read and as numbers, some slack."""
    return int(2 * predicted + 4 * golden_bytes / _MIB) + _SLACK_MIB


def spare_mib(root: Path = Path("/")) -> int | None:
    """Give what the board has for one more model now, None where that is not known. Below a trial's slack nothing is tried."""
    have = available_mib(root)
    return None if have is None else max(_SLACK_MIB, int(have - LEFT_MIB))
