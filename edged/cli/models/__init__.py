"""`edged models`: the releases on this board. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

import click

from edged.cli.late import LateGroup

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


@click.group("models", cls=LateGroup, package="edged.cli.models", summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """List, show, install, activate, roll back and remove models."""
