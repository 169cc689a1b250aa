"""`edged models`: the releases on this board. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "list": "List the models of this board, and say of each release why it serves or does not.",
    "show": "Show a release: where it comes from, what goes in and out, what it costs, how its trial went.",
    "install": "Bring a release into service: fetch, verify, try, swap, watch.",
    "activate": "Bring a release that is on this board into service, through its trial again.",
    "rollback": "Go back to the last good release, at once.",
    "remove": "Remove a release that is not needed.",
    "pin": "Keep a release on this board, or no longer.",
    "cancel": "End the update of a model that is under way.",
}

EPILOG = """\b
Examples:
  edged models list
  edged models install models/pump-anomaly
  edged models install pump-anomaly-15.edgedpack --wait
  edged models show pump-anomaly 15
  edged models rollback pump-anomaly"""


class _Commands(click.Group):
    """Knows its commands by name and imports them late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is the sub-module here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"edged.cli.models.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group("models", cls=_Commands, epilog=EPILOG)
def command() -> None:
    """List, show, install, activate, roll back and remove models."""
