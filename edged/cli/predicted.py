"""The table of `edged bench --predict`: predicted, measured, and how far apart they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edged.board.inforce import Board
    from edged.service.predictions import Prediction

_TITLES = ("FILE", "PREDICTED ms", "MEASURED", "ERROR", "PREDICTED MiB", "MEASURED", "ERROR", "ENGINE")
_WIDTH = 130


def show_predictions(config: str | None, places: Sequence[str], seconds: float, as_json: bool) -> None:
    """Predict and measure the files at `places`, and print all of it."""
    import msgspec

    from edged.cli.board.here import board_and_state
    from edged.cli.progress import Progress
    from edged.service.predictions import graphs_in, medians, predictions

    board, _ = board_and_state(config)
    progress = Progress("measuring ")
    try:
        found, failed = predictions(graphs_in([Path(place) for place in places]), board, seconds, progress.show)
    finally:
        progress.end()
    time, memory = medians(found)
    if as_json:
        rows = [{**msgspec.structs.asdict(each), "ms_error": each.ms_error, "mib_error": each.mib_error} for each in found]
        errors = {"time": time, "memory": memory}
        calibrated = board.calibration.at if board.calibration else None
        click.echo(msgspec.json.encode({"calibrated": calibrated, "predictions": rows, "median_error": errors, "failed": failed}))
    else:
        click.echo("\n".join([*_table(found), *_summary(board, found, time, memory), *_failures(failed)]))


def _table(found: Sequence[Prediction]) -> list[str]:
    from edged.cli.columns import Cell, Column, table

    columns = [Column(title, right=0 < i < 7, least=12 if title == "ENGINE" else 0) for i, title in enumerate(_TITLES)]
    return table(columns, [[Cell(text) for text in _row(each)] for each in found], _WIDTH, False)


def _row(each: Prediction) -> tuple[str, ...]:
    return (
        Path(each.file).stem, f"{each.predicted_ms:.4f}", f"{each.measured_ms:.4f}", f"{each.ms_error:+.0%}",
        f"{each.predicted_mib:.2f}", f"{each.measured_mib:.2f}", f"{each.mib_error:+.0%}", each.engine,
    )  # fmt: skip


def _summary(board: Board, found: Sequence[Prediction], time: float, memory: float) -> Iterator[str]:
    yield ""
    if found:
        yield f"median error: time {time:.0%}, memory {memory:.0%}, of {len(found)} measurements"
    if board.calibration is not None:
        yield f"predicted from the calibration of {board.calibration.at}"
    else:
        why = "; ".join(board.stale) or "this board was never calibrated"
        yield f"predicted from the profile {board.profile.name}: {why}; run `edged board calibrate`"


def _failures(failed: dict[str, str]) -> list[str]:
    return [f"{name} was not measured: {text}" for name, text in failed.items()]
