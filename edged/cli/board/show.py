"""`edged board show`: what this board is, which file says so, and which numbers are in force."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edged.cli.settings import config_option, json_option

if TYPE_CHECKING:
    from edged.board.inforce import Board

VERSION = 1
MAX_WIDTH = 100

EPILOG = """\b
Examples:
  edged board show
  edged board show --json | jq .in_force
  edged board show --root /mnt/other-board

`--root` reads the files of another system, such as a mounted card or a recorded board."""


@click.command("show", epilog=EPILOG)
@config_option
@click.option("--root", metavar="DIR", help="Look at the files under DIR instead of those of this system; no calibration then.")
@json_option
def command(config: str | None, root: str | None, as_json: bool) -> None:
    """Show what board this is, where that is from, and which numbers are in force."""
    import msgspec

    from edged.board.inforce import board_here
    from edged.board.sensors import Sensors
    from edged.cli.board.facts import render
    from edged.cli.board.here import board_and_state
    from edged.cli.terminal import size, wants_colour
    from edged.errors import OperatorError

    if root is not None and not Path(root).is_dir():
        raise OperatorError("no-such-folder", f"{root} is not a folder", "give the folder that stands for / there")
    board = board_here(Path(root)) if root is not None else board_and_state(config)[0]
    felt = Sensors(Path(root) if root is not None else Path("/")).read()
    if as_json:
        click.echo(msgspec.json.encode({**as_values(board), "felt": felt}))
    else:
        columns, _ = size(sys.stdout, MAX_WIDTH)
        click.echo(render(board, felt, max(columns, 40), wants_colour(sys.stdout, os.environ)), nl=False, color=True)


def as_values(board: Board) -> dict[str, Any]:
    """Give what `--json` shows, beside what the sensors say; keys are only ever added to it."""
    from edged.board.detect import CONTRIBUTE

    measured = board.calibration
    return {
        "v": VERSION,
        "detected": board.detected,
        "profile": board.profile,
        "generic": board.profile.match.generic,
        "contribute": CONTRIBUTE if board.profile.match.generic else None,
        "in_force": {
            "key": board.key,
            "ram_mib": board.ram_mib,
            "reserve_mib": board.reserve_mib,
            "cores": board.cores,
            "workers": board.workers,
            "arch": board.arch,
            "isa": board.isa,
            "bandwidth_gbs": board.bandwidth_gbs,
            "rates": measured.rates if measured else {"": board.rates(None)},
            "from": "calibration" if measured else "profile",
        },
        "calibrated": measured.at if measured else None,
        "calibration_disturbed": measured.disturbed if measured else [],
        "calibration_outdated": board.stale,
    }
