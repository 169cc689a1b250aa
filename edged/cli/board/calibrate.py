"""`edged board calibrate`: measure what this board really does, and store it for predictions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from edged.cli.settings import config_option, json_option

if TYPE_CHECKING:
    from pathlib import Path

    from edged.board.calibration import Calibration
    from edged.board.inforce import Board
    from edged.calibrate.run import Outcome

EPILOG = """\b
Examples:
  edged board calibrate
  edged board calibrate --if-needed
  edged board calibrate --json | jq .calibration.bandwidth_gbs

Measures memory, storage and each installed runtime with small nets of its own, in less than
ten seconds. Other work on the board disturbs it: best is to stop the daemon before.
Predictions then rest on this board and not on its profile. Repeat it when board, kernel,
firmware, governor or a runtime have changed; `--if-needed` does so, and else nothing."""


@click.command("calibrate", epilog=EPILOG)
@config_option
@click.option("--if-needed", is_flag=True, help="Do nothing where the stored calibration still holds.")
@json_option
def command(config: str | None, if_needed: bool, as_json: bool) -> None:
    """Measure what this board really does, in less than ten seconds."""
    import msgspec

    from edged.cli.board.here import board_and_state
    from edged.cli.progress import Progress

    board, state_dir = board_and_state(config)
    held = board.calibration
    if if_needed and held is not None and _holds(held):
        click.echo(msgspec.json.encode({"calibrated": False, "calibration": held}) if as_json else f"the calibration of {held.at} holds")
        return
    progress = Progress("measuring ")
    try:
        outcome = _calibrate(board, state_dir, progress.show)
    finally:
        progress.end()
    if as_json:
        shown = {"calibrated": True, "calibration": outcome.calibration, "failed": outcome.failed, "replaced": board.stale}
        click.echo(msgspec.json.encode(shown))
    else:
        click.echo("\n".join([*(f"measured again: {reason}" for reason in board.stale), *_lines(outcome)]))


def calibrate_if_needed(config: str, show: Callable[[str], None]) -> Outcome | None:
    """Measure this board, where no stored calibration holds; else give None. Raises as `calibrate` and `board_and_state`."""
    from edged.cli.board.here import board_and_state

    board, state_dir = board_and_state(config)
    return None if board.calibration is not None and _holds(board.calibration) else _calibrate(board, state_dir, show)


def _holds(held: Calibration) -> bool:
    from edged.engines.choose import available

    return {str(build) for build in available()} <= set(held.tried)


def _calibrate(board: Board, state_dir: Path, show: Callable[[str], None]) -> Outcome:
    import signal

    from edged.calibrate.run import calibrate
    from edged.clock import SystemClock

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was begun is cleared away then
    try:
        return calibrate(board, state_dir, SystemClock(), show)
    finally:
        signal.signal(signal.SIGTERM, before)


def _lines(outcome: Outcome) -> Iterator[str]:
    found = outcome.calibration
    reads = ", ".join(f"{gbs:.1f} GB/s with {threads}" for threads, gbs in sorted(found.bandwidth_gbs.items()))
    yield f"memory    {reads} thread{'s' if len(found.bandwidth_gbs) > 1 else ''}"
    yield f"storage   {found.write_iops:,.0f} small writes a second" if found.write_iops else "storage   the state folder takes no file"
    yield from _runtimes(found)
    for package, why in outcome.failed.items():
        yield f"{package} was not measured: {why}"
    for what in found.disturbed:
        yield f"{what} meanwhile, so numbers may be too low: calibrate again when the board has little to do"


def _runtimes(found: Calibration) -> Iterator[str]:
    for build, rates in found.rates.items():
        yield f"{build}: {rates.call_us:.1f} µs a call, {rates.base_mib:.1f} MiB"
        for kind, each in rates.gmacs.items():
            classes = f"dense {each.dense:.1f}, convolution {each.conv:.1f}, depthwise {each.depthwise:.1f}"
            yield f"  {kind:<8}billions of multiply-adds a second: {classes}"
