"""`edged board`: what this board is and can do. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

import click

from edged.cli.late import LateGroup

COMMANDS = {
    "show": "Show what board this is, where that is from, and which numbers are in force.",
    "calibrate": "Measure what this board really does, in ten seconds.",
    "simulate": "Predict how a configuration would do on another board.",
}

EPILOG = """\b
Examples:
  edged board show
  edged board calibrate
  edged board simulate --profile raspberry-pi-4b-2gb --config edged.toml"""


@click.group("board", cls=LateGroup, package="edged.cli.board", summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Show, measure and simulate boards."""
