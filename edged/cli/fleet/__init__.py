"""`edged fleet`: what a fleet manager types. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

import click

from edged.cli.late import LateGroup

COMMANDS = {
    "init": "Make the keys and the repository of a fleet.",
    "add": "Bring packed releases into the repository, and sign.",
    "remove": "Take a release out of the repository: boards refuse it from then on.",
    "list": "List releases, orders and keys, and say what ends soon.",
    "assign": "Order which releases run on a device, or on the devices of a group.",
    "publish": "Put metadata and orders on a broker.",
    "serve": "Keep a broker up to date, and send boards the bytes they ask for.",
    "watch": "Show what runs on every device, and how updates stand.",
    "acl": "Print a broker's rules that keep devices apart.",
    "rotate": "Replace the keys of a role.",
}

EPILOG = """\b
Examples:
  edged fleet init fleet --fleet plant-a
  edged fleet add fleet models/pump-anomaly
  edged fleet assign fleet --group line-3 pump-anomaly=14
  edged fleet serve fleet --broker mqtts://broker.plant:8883
  edged fleet watch --broker mqtts://broker.plant:8883 --fleet plant-a

DIR is the fleet's repository. DIR/public may be copied anywhere; keys are never in it."""


@click.group("fleet", cls=LateGroup, package="edged.cli.fleet", summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Sign releases and orders for a fleet of boards, publish them, and watch."""
