"""`edged fit`: what a release learns from labelled rows. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

import click

from edged.cli.late import LateGroup

COMMANDS = {
    "classifier": "Fit classifiers of texts on labelled rows, and put them into a release.",
    "cascade": "Find thresholds at which what a cascade accepts is right often enough.",
    "threshold": "Find the threshold of an anomaly score from clean windows.",
}

EPILOG = """\b
Examples:
  edged fit classifier --data orders.csv --into models/work-orders
  edged fit cascade models/work-orders --data orders.csv --target 0.95
  edged fit threshold models/pump --data clean.csv"""


@click.group("fit", cls=LateGroup, package="edged.cli.fit", summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Fit classifiers and thresholds on labelled rows."""
