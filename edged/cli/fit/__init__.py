"""`edged fit`: what a release learns from labelled rows. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

import click

from edged.cli.late import LateGroup

COMMANDS = {
    "classifier": "Fit classifiers of texts on labelled rows, and put them into a release.",
}

EPILOG = """\b
Examples:
  edged fit classifier --data orders.csv --into models/work-orders"""


@click.group("fit", cls=LateGroup, package="edged.cli.fit", summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Fit classifiers and thresholds on labelled rows."""
