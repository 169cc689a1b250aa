"""`edged board`: what this board is and can do. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

from importlib import import_module

import click

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


class _Commands(click.Group):
    """Knows its commands by name and imports them late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"edged.cli.board.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group("board", cls=_Commands, epilog=EPILOG)
def command() -> None:
    """Show, measure and simulate boards."""
